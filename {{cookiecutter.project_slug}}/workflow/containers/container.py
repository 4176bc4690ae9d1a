"""Running a command in a container of the project, as if it ran here.

The project is at the same path, the files belong to the same user, and W&B finds the same account:
the DVC cache, offline runs and their staged artifacts are those of the folder, in and outside.
"""

import contextlib
import hashlib
import netrc
import os
import secrets
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import docker
from docker.errors import NotFound
from dvc.exceptions import DvcException

from .. import git, ports
from ..dvc_store.opening import open_repo
from ..errors import CommandError, one_line
from ..paths import ROOT
from . import engine, images

COMPOSE = ("docker", "compose", "--file", "docker/compose.yaml")
STOP_SECONDS = 60  # for a training to end its step and close its W&B run
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def run(
    client: docker.DockerClient,
    command: list[str],
    *,
    name: str | None = None,
    gpu: bool = False,
    port: int | None = None,
) -> int:
    """Run a command in a new container, and return its exit code.

    Args:
        name: of what only one container of this folder may do at a time.
        gpu: in the GPU image, with all GPUs of the machine.
        port: of this machine's loopback, and of the container.

    Raises:
        CommandError: the image cannot be built, there is no GPU, the port is taken, or a
            container of this name runs already.
    """
    if port:
        require_free(client, port)
    container = container_name(name)
    require_none(client, container)
    folders = outside_folders()
    service = "gpu" if gpu else "cpu"
    image = images.ensure(client, service)
    if gpu:
        engine.require_gpu(client, str(image.id))
    folder = ROOT.as_posix() if os.name == "posix" else "/project"
    variables = {
        **os.environ,
        **wandb_key(),
        **git_identity(),
        "CALLER": engine.caller(client),
        "FOLDER": folder,
        "IMAGE": images.name_of(service),
        "WANDB_DOCKER": images.reference(image, images.name_of(service)),
    }
    options = [f"--name={container}", f"--volume={ROOT}:{folder}"]
    options += [f"--volume={path}:{path.as_posix()}" for path in folders]
    options += [f"--publish=127.0.0.1:{port}:{port}"] if port else []
    options += [f"--env={name}" for name in passed_on(variables)]
    compose = [*COMPOSE, "run", "--rm", *options, service, *command]
    print(f"$ {shlex.join(compose)}", flush=True)
    return wait(client, container, compose, variables)


def wait(
    client: docker.DockerClient, container: str, compose: list[str], variables: dict[str, str]
) -> int:
    """Run the command to its end; Ctrl-C and SIGTERM end what runs in the container.

    In a terminal, the keys go to the container. Elsewhere Compose would leave on a signal, and
    leave the container running: it gets none, and the container is stopped here.
    """
    in_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    process = subprocess.Popen(
        compose,
        env=variables,
        stdin=subprocess.DEVNULL if sys.stdin.isatty() and not in_terminal else None,
        start_new_session=not in_terminal,
    )
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            with contextlib.suppress(NotFound):
                client.containers.get(container).stop(timeout=STOP_SECONDS)


def container_name(name: str | None) -> str:
    """Return a container's name: the same for the same `name` and folder, else a new one."""
    part = hashlib.sha256(str(ROOT).encode()).hexdigest() if name else secrets.token_hex(4)
    return f"{images.project()['name']}-{name or 'shell'}-{part[:8]}"


def require_none(client: docker.DockerClient, container: str) -> None:
    """Raise CommandError where a container of this name runs; remove one that has ended.

    DVC's own locks name processes, which are not seen from one container in another.
    """
    try:
        existing = client.containers.get(container)
    except NotFound:
        return
    if existing.status == "running":
        raise CommandError(
            f"{container} runs already in this folder: docker logs --follow {container}, or "
            f"docker stop {container}"
        )
    existing.remove(force=True)


def outside_folders() -> list[Path]:
    """Return what the project needs from outside its folder: Git's data, DVC's cache, its storage.

    They are elsewhere in a worktree of Git's, with a shared cache, and with a remote that is a
    folder.
    """
    try:
        repo = open_repo(ROOT)
        store = repo.cloud.get_remote_odb()
    except DvcException as error:
        raise CommandError(f"{one_line(error)}: inv setup") from None
    cache = Path(str(repo.cache.local_cache_dir))
    cache.mkdir(parents=True, exist_ok=True)  # what the engine makes itself would belong to root
    arguments = ("rev-parse", "--path-format=absolute", "--git-common-dir")
    folders = [cache, Path(git.run(ROOT, *arguments).decode().rstrip("\r\n"))]
    if store.fs.protocol == "local":
        folders.append(Path(store.path))
    return [path for path in folders if path.exists() and not path.is_relative_to(ROOT)]


def passed_on(variables: dict[str, str]) -> list[str]:
    """Return the names of the variables that a container gets: of W&B, Git's author, a proxy.

    W&B's folders stay inside of the project, where `train` puts them.
    """
    wandb = [name for name in variables if name.startswith("WANDB_") and not name.endswith("_DIR")]
    git = [name for name in variables if name.startswith(("GIT_AUTHOR_", "GIT_COMMITTER_"))]
    proxies = [name for name in variables if name.upper() in PROXIES]
    return sorted({*wandb, *git, *proxies} - {"WANDB_DOCKER"})  # which compose.yaml sets


def git_identity() -> dict[str, str]:
    """Return Git's author as variables; it may be set in a home folder that no container sees."""
    variables = {}
    for key in ("name", "email"):
        if value := git.text(ROOT, "config", f"user.{key}"):
            variables[f"GIT_AUTHOR_{key.upper()}"] = value
            variables[f"GIT_COMMITTER_{key.upper()}"] = value
    return variables


def wandb_key() -> dict[str, str]:
    """Return the key that `wandb login` keeps in the home folder, as the variable W&B reads."""
    if "WANDB_API_KEY" in os.environ:
        return {}
    file = Path(os.environ.get("NETRC", Path.home() / ("_netrc" if os.name == "nt" else ".netrc")))
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    try:
        login = netrc.netrc(file).authenticators(urlsplit(server).hostname or "")
    except (OSError, netrc.NetrcParseError):
        return {}
    return {"WANDB_API_KEY": login[2]} if login and login[2] else {}


def require_free(client: docker.DockerClient, port: int) -> None:
    """Raise CommandError where somebody listens on a port of this machine."""
    ports.require_free(port, lambda: stop_command(client, port))


def stop_command(client: docker.DockerClient, port: int) -> str:
    """Return how to stop the container that publishes a port; "" where none does.

    One keeps running where the command that started it was killed.
    """
    for container in client.containers.list():
        published = [binding for bindings in container.ports.values() for binding in bindings or ()]
        if any(binding["HostPort"] == str(port) for binding in published):
            return f"docker stop {container.name}"
    return ""
