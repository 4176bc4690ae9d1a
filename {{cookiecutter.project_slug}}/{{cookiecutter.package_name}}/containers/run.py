"""Running a command in a container of the project, as if it ran here.

The project is at the same path, the files belong to the same user, and W&B finds the same account:
the DVC cache, offline runs and their staged artifacts are those of the folder, in and outside.
"""

import netrc
import os
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import docker
from dvc.exceptions import DvcException
from dvc.repo import Repo

from ..paths import ROOT
from . import engine, images
from .engine import EngineError

COMPOSE = ("docker", "compose", "--file", "docker/compose.yaml")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


def run(client: docker.DockerClient, command: list[str], gpu: bool, port: int | None) -> int:
    """Run a command in a new container, and return its exit code.

    Args:
        gpu: in the GPU image, with all GPUs of the machine.
        port: of this machine's loopback, and of the container.

    Raises:
        EngineError: the image cannot be built, there is no GPU, or the port is taken.
    """
    if port:
        require_free(port)
    folders = outside_folders()
    service = "gpu" if gpu else "cpu"
    image = images.ensure(client, service)
    if gpu:
        engine.require_gpu(client, str(image.id))
    folder = ROOT.as_posix() if os.name == "posix" else "/project"
    variables = {
        **os.environ,
        **wandb_key(),
        "CALLER": engine.caller(client),
        "FOLDER": folder,
        "IMAGE": images.name_of(service),
        "WANDB_DOCKER": images.reference(image),
    }
    options = [f"--volume={ROOT}:{folder}"]
    options += [f"--volume={path}:{path.as_posix()}" for path in folders]
    options += [f"--publish=127.0.0.1:{port}:{port}"] if port else []
    options += [f"--env={name}" for name in passed_on(variables)]
    compose = [*COMPOSE, "run", "--rm", *options, service, *command]
    print(f"$ {' '.join(compose)}", flush=True)
    process = subprocess.Popen(compose, env=variables)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the container got it too; let it end by itself


def outside_folders() -> list[Path]:
    """Return what the project needs from outside its folder: Git's data, DVC's cache, its storage.

    They are elsewhere in a worktree of Git's, with a shared cache, and with a remote that is a
    folder.
    """
    try:
        repo = Repo(str(ROOT))
        store = repo.cloud.get_remote_odb()
    except DvcException as error:
        raise EngineError(f"{' '.join(str(error).split())}: inv setup") from None
    cache = Path(str(repo.cache.local_cache_dir))
    cache.mkdir(parents=True, exist_ok=True)  # what the engine makes itself would belong to root
    git = subprocess.run(
        ["git", "rev-parse", "--path-format=absolute", "--git-common-dir"],
        capture_output=True,
        text=True,
        check=True,
    )
    folders = [cache, Path(git.stdout.strip())]
    if store.fs.protocol == "local":
        folders.append(Path(store.path))
    return [path for path in folders if path.exists() and not path.is_relative_to(ROOT)]


def passed_on(variables: dict[str, str]) -> list[str]:
    """Return the names of the variables that a container gets: W&B's, and those of a proxy.

    W&B's folders stay inside of the project, where `train` puts them.
    """
    wandb = [name for name in variables if name.startswith("WANDB_") and not name.endswith("_DIR")]
    proxies = [name for name in variables if name.upper() in PROXIES]
    return sorted({*wandb, *proxies} - {"WANDB_DOCKER"})  # which compose.yaml sets


def wandb_key() -> dict[str, str]:
    """Return the key that `wandb login` keeps in the home folder, as the variable W&B reads."""
    if "WANDB_API_KEY" in os.environ:
        return {}
    file = Path(os.environ.get("NETRC", Path.home() / ("_netrc" if os.name == "nt" else ".netrc")))
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    try:
        found = netrc.netrc(file).authenticators(urlsplit(server).hostname or "")
    except (OSError, netrc.NetrcParseError):
        return {}
    return {"WANDB_API_KEY": found[2]} if found and found[2] else {}


def require_free(port: int) -> None:
    """Raise EngineError where a port of this machine is taken."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise EngineError(f"port {port} is taken: choose another with --port") from None
