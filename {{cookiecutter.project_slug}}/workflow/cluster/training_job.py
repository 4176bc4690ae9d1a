"""One training as a Job of Kubernetes: `inv deploy.train`.

    python -m workflow.cluster.training_job [--name NAME] [--render] -- OVERRIDES

The pod clones the commit and pulls the data, and pushes the result as an experiment: see
pipeline/pod.py. So everything that it needs has to be where a cluster reaches it.
"""

import argparse
import json
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from .. import git
from ..config.job_keys import Resources
from ..config.values import ConfigError
from ..containers import container, engine, images
from ..deployment import kubectl, kustomize, state
from ..deployment.kubernetes import RENDERED, TREE, pushed, require_namespace
from ..dvc_store import remote
from ..errors import CommandError, enumerated
from ..git import GitError
from ..paths import BUILT, ROOT
from . import settings

BASE = TREE / "training"
ORIGIN = "origin"
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?")
# What a service of the cluster's own reads, beside what the secrets have.
PASSED_ON = ("WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_TAGS", "AWS_ENDPOINT_URL")
Patch = list[dict[str, Any]]
CONTAINER = "/spec/template/spec/containers/0"


def render(name: str, overrides: list[str], resources: Resources) -> Path:
    """Write the file with which a cluster trains, and return it.

    Args:
        name: of the experiment and, behind `train-`, of the Job; "" for one by the time.
        overrides: of the training, as they were typed.

    Raises:
        CommandError: the pod could not have the code, the data or the image, or bring the result
            back; nothing is written.
    """
    name = name or f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    require_name(name)
    kubectl.require()
    require_remote()
    code = pushed_code()
    target = "gpu" if resources.gpus else "cpu"
    image = fitting_image(target)
    variables = {
        **{variable: os.environ[variable] for variable in PASSED_ON if os.environ.get(variable)},
        **container.git_identity(),
        **code,
        "JOB_NAME": name,
        "WANDB_DOCKER": image,
    }
    tree = RENDERED / f"train-{name}"
    fill(ROOT / BASE, ROOT / tree, name, image, patches(variables, overrides, resources))
    text = kubectl.run("kustomize", tree.as_posix())
    file = RENDERED / f"train-{name}.yaml"
    state.write(ROOT / file, f"# Written by: inv deploy.train --name {name}\n{text}")
    return file


def apply(file: Path) -> str:
    """Start the Job of a file in the cluster of kubectl's context; return how to follow it.

    Raises:
        CommandError: the cluster refused it.
    """
    objects = list(yaml.safe_load_all((ROOT / file).read_text(encoding="utf-8")))
    (job,) = (item for item in objects if item["kind"] == "Job")
    name, namespace = job["metadata"]["name"], job["metadata"].get("namespace")
    if not namespace:
        raise CommandError(f"{(BASE / 'kustomization.yaml').as_posix()}: set `namespace`")
    require_namespace(namespace)
    where = f"--namespace={namespace}"
    kubectl.show("apply", f"--filename={file.as_posix()}")
    uid = kubectl.run("get", "job", name, where, "--output=jsonpath={.metadata.uid}")
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": uid}
    ownership = json.dumps({"metadata": {"ownerReferences": [owner]}})
    for item in (item for item in objects if item is not job):  # it goes when the Job does
        volume = (item["kind"].lower(), item["metadata"]["name"])
        kubectl.run("patch", *volume, where, "--type=merge", f"--patch={ownership}")
    return f"kubectl logs --follow job/{name} {where}"


def require_name(name: str) -> None:
    """Raise CommandError where a Job, and what belongs to it, cannot have a name."""
    if not NAME.fullmatch(name):
        raise CommandError(f"--name={name}: small letters, digits and hyphens, at most 52")


def require_remote() -> None:
    """Raise CommandError where the DVC remote is none that a cluster reaches."""
    address = remote.url(ROOT)
    add = "dvc remote add --force --default storage s3://BUCKET/FOLDER"
    if not address:
        raise CommandError(f"no DVC remote is set, which has the data and gets the model: {add}")
    if "://" not in address:
        raise CommandError(
            f"the DVC remote, {address}, is a folder of this machine, where no cluster reads it:"
            f" {add}, then inv data.push"
        )


def pushed_code() -> dict[str, str]:
    """Return the variables that name the code, which is a commit of the Git remote.

    Raises:
        CommandError, GitError: there is no remote, or it does not have what is here.
    """
    url = git.text(ROOT, "remote", "get-url", ORIGIN)
    if not url:
        raise CommandError(f"no Git remote {ORIGIN}: git remote add {ORIGIN} URL, git push")
    address = images.source(url)
    if not address:
        raise CommandError(
            f"the Git remote {ORIGIN}, {url}, is a folder of this machine, where no cluster reads"
            f" it: git remote set-url {ORIGIN} URL, git push"
        )
    commit = git.head(ROOT)
    if not commit:
        raise CommandError("no commit yet: inv setup")
    except_built = (f":!{path.as_posix()}" for path in BUILT)  # the pod's pipeline writes it again
    tracked = ("status", "--porcelain", "--untracked-files=no", "--no-renames", "-z")
    status = os.fsdecode(git.run(ROOT, *tracked, "--", ".", *except_built))
    changed = [line[3:] for line in status.split("\0") if line]
    if missing := enumerated(changed, 3) or images.uncommitted():
        raise CommandError(f"no commit has {missing} as here: git add, git commit, git push")
    if not git.text(ROOT, "config", "user.email"):
        raise CommandError("Git knows no author: git config user.email you@example.com")
    if not git.text(ROOT, "branch", "--remotes", "--contains", commit):
        raise CommandError(f"{ORIGIN} does not have the commit {commit[:12]}: git push")
    prefix = git.text(ROOT, "rev-parse", "--show-prefix") or ""
    return {"JOB_REPOSITORY": f"{address}.git", "JOB_COMMIT": commit, "JOB_PREFIX": prefix}


def fitting_image(target: str) -> str:
    """Return name@digest of the image of this environment.

    Raises:
        CommandError: there is none that a cluster can pull, or it is of another environment.
    """
    client = engine.connect()
    reference = pushed(client, target)
    labels = client.images.get(reference).labels
    if other := images.difference(target, labels):
        raise CommandError(
            f"{images.name_of(target)} was built with {other}: inv docker.push --image {target}"
        )
    return reference


def patches(variables: dict[str, str], overrides: list[str], resources: Resources) -> Patch:
    """Return, as JSON Patch, what a Job gets beside the base."""
    memory = f"{settings.megabytes(resources.memory)}Mi"
    steps: list[tuple[str, str, Any]] = [
        ("add", f"{CONTAINER}/env/-", {"name": name, "value": as_it_is(value)})
        for name, value in sorted(variables.items())
    ]
    steps += [("add", f"{CONTAINER}/args/-", as_it_is(override)) for override in overrides]
    steps += [
        ("replace", "/spec/activeDeadlineSeconds", settings.seconds(resources.time)),
        ("replace", f"{CONTAINER}/resources/requests/cpu", str(resources.cpus)),
        ("replace", f"{CONTAINER}/resources/requests/memory", memory),
        ("replace", f"{CONTAINER}/resources/limits/memory", memory),
    ]
    if resources.gpus:
        toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        steps += [
            ("add", f"{CONTAINER}/resources/limits/nvidia.com~1gpu", str(resources.gpus)),
            ("add", "/spec/template/spec/tolerations", [toleration]),
        ]
    return [{"op": op, "path": path, "value": value} for op, path, value in steps]


def as_it_is(text: str) -> str:
    """Return a text that Kubernetes hands on as it is: it expands $(NAME), and makes $$ a $."""
    return text.replace("$", "$$")


def fill(source: Path, tree: Path, name: str, image: str, patches: Patch) -> None:
    """Make `tree` a copy of `source` for one training.

    Args:
        image: name@digest.
    """
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(source, tree)
    file = tree / "kustomization.yaml"
    base = yaml.safe_load(file.read_text(encoding="utf-8"))
    base["nameSuffix"] = f"-{name}"
    instance = {"pairs": {"app.kubernetes.io/instance": name}, "includeTemplates": True}
    base["labels"].append(instance)
    base.setdefault("patches", []).append(
        {"target": {"kind": "Job", "name": "train"}, "patch": yaml.safe_dump(patches)}
    )
    for entry in base["images"]:
        entry["newName"], _, entry["digest"] = image.partition("@")
    kustomize.write(file, base)


def main() -> None:
    parser = argparse.ArgumentParser(prog="deploy.train", description=__doc__)
    parser.add_argument("--name", default="", help="of the experiment; default: the time")
    parser.add_argument("--render", action="store_true", help="write the file, start nothing")
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    try:
        of_job, overrides = settings.split(arguments.overrides)
        file = render(arguments.name, overrides, settings.compose_resources(of_job))
        if arguments.render:
            print(f"{file.as_posix()}: kubectl apply --filename={file.as_posix()}")
            return
        follow = apply(file)
    except (CommandError, ConfigError, GitError) as error:
        raise SystemExit(f"deploy: {error}") from None
    name = file.stem.removeprefix("train-")
    print(f"deploy: the training {name} is started: {follow}")
    print(f"next, when it has ended: inv exp.pull {name}")


if __name__ == "__main__":
    main()
