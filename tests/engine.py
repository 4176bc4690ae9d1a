"""The Docker Engine that the tests use, and what stands on it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from driving import Project, set_up

PYTHON = "3.11"
BASE_IMAGE = f"python:{PYTHON}-slim-bookworm"
REGISTRY_CONFIG = """\
version: 0.1
storage:
  filesystem:
    rootdirectory: {folder}
http:
  addr: 127.0.0.1:{port}
"""


def docker(*arguments: str) -> str:
    """Run the `docker` command; return what it printed."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def inspect(name: str) -> dict[str, Any]:
    """What the engine knows of an image or a container."""
    return json.loads(docker("inspect", name))[0]


def set_up_for_images(folder: Path, **answers: str) -> Project:
    """A project whose images build on the tests' base, with torch as it is outside of them."""
    project = set_up(folder, PYTHON, python_version=PYTHON, **answers)
    env = f"BASE_IMAGE={BASE_IMAGE}\nTORCH_INDEX=locked\n"
    (project.path / ".env").write_text(env, encoding="utf-8")
    return project


def free_port() -> int:
    """A port of the loopback where nobody listens, below those that a system hands out itself."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def until(look: Callable[[], Any], seconds: float = 60) -> Any:
    """Look until there is something; fail after a while."""
    end = time.monotonic() + seconds
    while not (value := look()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {look}"
        time.sleep(0.02)  # some of it is there for a moment
    return value


def answer(url: str) -> int | None:
    """The status with which a server answers, or None where nobody does."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


@contextlib.contextmanager
def model_service(image: str, models: Path) -> Iterator[tuple[str, str]]:
    """A container of the image that serves models, which writes nothing; its id and address."""
    port = free_port()
    container = docker(
        *("run", "--detach", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"),
        *(f"--publish=127.0.0.1:{port}:8000", f"--volume={models}:/models:ro", image),
    )
    try:
        until(lambda: inspect(container)["State"]["Health"]["Status"] == "healthy")
        yield container, f"http://127.0.0.1:{port}"
    finally:
        docker("rm", "--force", container)


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A real registry on the loopback; its host and port."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    assert program, "no registry is installed: apt-get install docker-registry"
    port = free_port()
    config = folder / "registry.yml"
    config.write_text(REGISTRY_CONFIG.format(folder=folder / "registry", port=port))
    command = [program, "serve", str(config)]
    with (folder / "registry.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until(lambda: answer(f"http://127.0.0.1:{port}/v2/"))
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def as_user(number: int, home: Path) -> list[str]:
    """What to put before a command of root so that it runs as this user, who may use the engine.

    The user may read everything, as the tests' own tools can lie in a home folder.
    """
    if os.getuid():
        return []
    group = Path("/var/run/docker.sock").stat().st_gid
    home.mkdir(exist_ok=True)
    (home / ".gitconfig").write_text("[user]\n\tname = Some One\n\temail = some@example.com\n")
    shutil.chown(home, number, number)
    capability = "+dac_read_search"
    return [
        *("setpriv", f"--reuid={number}", f"--regid={number}", f"--groups={group}"),
        *(f"--inh-caps={capability}", f"--ambient-caps={capability}"),
        *("env", f"HOME={home}", "LOGNAME=someone"),
    ]


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="open-")).resolve()
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def give(path: Path, number: int) -> None:
    """Make a folder, and all in it, belong to a user."""
    for item in (path, *path.rglob("*")):
        os.chown(item, number, number, follow_symlinks=False)
