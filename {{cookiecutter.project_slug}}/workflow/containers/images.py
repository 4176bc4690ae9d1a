"""The images: what they are called, how they are built, pushed and listed."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
from docker.errors import ImageNotFound
from docker.models.images import Image

from .. import extras, git
from ..errors import CommandError
from ..paths import ROOT
from ..tracking import provenance

BAKE = ("docker", "buildx", "bake", "--file", "docker/docker-bake.hcl")
LABEL = "org.opencontainers.image."
LOCK_LABEL = "uv.lock.sha256"
EXTRAS_LABEL = "uv.extras"

# What a failed build says, and how to fix it; the first that fits is shown.
FIXES = {
    "no space left on device": (
        "the disk of the Docker Engine is full: `docker system df` says with what, "
        "`docker buildx prune` and `docker image prune` make room"
    ),
    "401 (client )?(error|unauthorized)": (
        "a user or password was refused: look at those in PACKAGE_INDEX and TORCH_INDEX in .env"
    ),
    "no CPU build of torch": (
        "PyTorch's index of CPU builds did not serve torch: set TORCH_INDEX in .env to the "
        "address of a mirror, or to `locked` for the build that uv.lock names, with CUDA"
    ),
    "failed to resolve source metadata|pull access denied": (
        "the base image cannot be pulled: set BASE_IMAGE in .env to one that can, such as "
        "HOST/python:3.13-slim on a mirror"
    ),
    "(SSL|certificate).*(verif|UnknownIssuer|self.signed)": (
        "a certificate is not trusted: set CA_CERTIFICATES in .env to the file of your company's"
    ),
}


def names() -> dict[str, str]:
    """Return what each image is called, by its target in the bake file."""
    command = [*BAKE, "--print", "all", "serve-gpu"]
    printed = subprocess.run(command, capture_output=True, text=True, check=False)
    if printed.returncode:
        raise CommandError(printed.stderr.strip().splitlines()[-1])
    targets = json.loads(printed.stdout)["target"]
    return {name: target["tags"][0] for name, target in targets.items() if "tags" in target}


def name_of(target: str) -> str:
    """Return what the image of a target is called.

    Raises:
        CommandError: there is no such target.
    """
    known = names()
    if target not in known:
        raise CommandError(f"no image `{target}`: choose one of {', '.join(known)}")
    return known[target]


def build(target: str, options: list[str] | None = None) -> None:
    """Build the image of a target, or "all"; BuildKit's progress goes to the terminal.

    Args:
        options: further ones of `docker buildx bake`.
    """
    certificates = os.environ.get("CA_CERTIFICATES")
    if certificates and not Path(certificates).is_file():
        raise CommandError(f"CA_CERTIFICATES names no file: {certificates}")
    if target != "all":
        name_of(target)
    command = [*BAKE, "--load", "--progress=plain", *(options or []), target]
    print(f"$ {shlex.join(command)}", flush=True)
    environment = {**os.environ, **facts(), "BUILDX_BAKE_ENTITLEMENTS_FS": "0"}
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stderr
    printed = []
    for line in process.stderr:
        sys.stderr.write(line)
        printed.append(line)
    if process.wait():
        text = "".join(printed)
        fixes = (fix for pattern, fix in FIXES.items() if re.search(pattern, text, re.IGNORECASE))
        raise CommandError(next(fixes, "the image was not built: the lines above say why"))


def ensure(client: docker.DockerClient, target: str) -> Image:
    """Return the image of a target; build it where there is none of this environment."""
    name = name_of(target)
    try:
        image = client.images.get(name)
        other = difference(target, image.labels)
        if not other:
            return image
        print(f"{name} was built with {other}: building it again", flush=True)
    except ImageNotFound:
        print(f"there is no {name} yet: building it", flush=True)
    build(target)
    return client.images.get(name)


def difference(target: str, labels: dict[str, str]) -> str | None:
    """Return what the environment of an image with these labels differs in from a new one's."""
    if labels.get(LOCK_LABEL) != lock_hash():
        return "another uv.lock"
    built, current = labels.get(EXTRAS_LABEL, ""), extras_of(target)
    if built != current:
        return f"other extras: {built or 'none'}, and not {current or 'none'}"
    return None


def extras_of(target: str) -> str:
    """Return the extras of pyproject.toml that are in the image of a target, spaces between.

    Images for serving have none: they have a dependency group of their own.
    """
    if target not in ("cpu", "gpu"):
        return ""
    return " ".join(extras.needed(Path(), cuda=target == "gpu"))


def reference(image: Image, name: str) -> str:
    """Return name@digest of an image: the registry's digest, or, if never pushed, its own id.

    Args:
        name: what the image is called, as one content can be in several registries.
    """
    return pushed_reference(image, name) or f"{_repository(name)}@{image.id}"


def pushed_reference(image: Image, name: str) -> str | None:
    """Return name@digest as the registry of `name` has an image; None if never pushed there."""
    repository = _repository(name)
    digests = (str(digest) for digest in image.attrs["RepoDigests"])
    return next((digest for digest in digests if digest.startswith(f"{repository}@")), None)


def push(client: docker.DockerClient, target: str) -> None:
    """Build an image from the commit that is checked out, push it, and tag it with the commit.

    An image does not say from which commit it is: commits that change nothing in it have the same
    one, and each of them is a tag of it. What was built of the commit before is not built again.

    Raises:
        CommandError: no registry is named, no commit has what is built, or it was not pushed.
    """
    name = name_of(target)
    if not os.environ.get("REGISTRY"):
        raise CommandError("no registry is named: set REGISTRY in .env, as .env.example shows")
    if changes := uncommitted():
        raise CommandError(f"{name} would have {changes} that no commit has: git add, git commit")
    build(target)
    image = client.images.get(name)
    commit = provenance.git_state()["commit"]
    tag = f"{_repository(name)}:{commit[:12]}"
    image.tag(tag)
    for pushed in (name, tag):
        print(f"$ docker push {pushed}", flush=True)
        if subprocess.run(["docker", "push", pushed], check=False).returncode:
            raise CommandError(f"{pushed} was not pushed: docker login {pushed.partition('/')[0]}?")
    image.reload()
    print(reference(image, name))


def show(client: docker.DockerClient) -> None:
    """Print the images of this project, and the containers that run from each."""
    label = f"{LABEL}title={project()['name']}"
    images = [image for image in client.images.list(filters={"label": label}) if image.tags]
    containers = client.containers.list(filters={"label": label})
    for image in images:
        print(*image.tags)
        print(f"    {reference(image, image.tags[0])}")
        print(f"    {image.attrs['Size'] / 1e6:,.0f} MB, built {image.attrs['Created'][:19]}")
        for container in containers:
            if container.attrs["Image"] == image.id:
                print(f"    running: {container.name}, {_state(container.attrs)}")
    if not images:
        print("no image of this project yet: inv docker.build")


def facts() -> dict[str, str]:
    """Return the variables of the bake file: what an image is made of, and by whom.

    They are the same for the same content: neither commit nor time is among them.
    """
    table = project()
    return {
        "AUTHORS": authors(table),
        "DESCRIPTION": table["description"],
        "EXTRAS": extras_of("cpu"),
        "GPU_EXTRAS": extras_of("gpu"),
        "LICENSES": table.get("license", ""),
        "LOCK": lock_hash(),
        "SOURCE": source(git.text(ROOT, "remote", "get-url", "origin") or ""),
        "VERSION": table["version"],
    }


def authors(table: dict[str, Any]) -> str:
    """Return the authors of pyproject.toml as "NAME <ADDRESS>", commas between."""
    people = table.get("authors", [])
    return ", ".join(
        " ".join(
            filter(None, [person.get("name"), f"<{person['email']}>" if "email" in person else ""])
        )
        for person in people
    )


def source(remote: str) -> str:
    """Return where a browser finds the Git remote of this address; "" for a folder.

    Clones by SSH and by HTTPS, with a password or not, have one source, and so the same image.
    """
    if "://" not in remote:  # git@host:team/name.git, or a folder; C:/name is one, too
        host, _, path = remote.partition(":")
        remote = f"ssh://{host}/{path.lstrip('/')}" if path and len(host) > 1 else ""
    parts = urlsplit(remote)
    if parts.scheme not in ("git", "http", "https", "ssh"):
        return ""
    path = parts.path.rstrip("/").removesuffix(".git")
    if parts.scheme.startswith("http"):
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path}"
    return f"https://{parts.hostname}{path}"  # the port is that of SSH


def uncommitted() -> str | None:
    """Return what an image would have of changes that no commit has; None if there are none."""
    state = provenance.git_state()
    if not state["commit"] or state["dirty"]:
        return "changes" if state["commit"] else "code"
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = [line[1:] for line in lines if line.startswith("!")]
    untracked = git.text(ROOT, "ls-files", "--others", "--exclude-standard", "--", *sent)
    return untracked.splitlines()[0] if untracked else None


def lock_hash() -> str:
    """Return the SHA-256 of uv.lock: images and lock fit together where it is the same."""
    return provenance.file_sha256(Path("uv.lock")) or ""


def project() -> dict[str, str]:
    """Return the table `project` of pyproject.toml."""
    return tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]


def _repository(name: str) -> str:
    """Return an image's name without its tag; the port of a registry is no tag."""
    head, separator, last = name.rpartition("/")
    return f"{head}{separator}{last.partition(':')[0]}"


def _state(attributes: dict[str, Any]) -> str:
    """Return the health of a container, or, where its image has no check, its state."""
    state = attributes["State"]
    return state["Health"]["Status"] if "Health" in state else state["Status"]
