"""The image that a run was made in: whether it can be had, and fetching it."""

import shlex
import subprocess

from docker.errors import DockerException, ImageNotFound

from ..containers import engine
from ..containers.engine import EngineError

HERE = "on this machine"


def place(reference: str) -> str:
    """Return where an image, `name@sha256:…`, is: `HERE` or "in its registry".

    Raises:
        EngineError: in neither, or no engine answers.
    """
    client = engine.connect()
    digest = reference.rpartition("@")[2]
    for name in (reference, digest):  # one that was never pushed is known by its own id
        try:
            client.images.get(name)
            return HERE
        except ImageNotFound:
            continue
    try:
        client.images.get_registry_data(reference)
    except DockerException as error:
        reason = " ".join(str(error).split())
        raise EngineError(f"not on this machine, nor in a registry: {reason}") from None
    return "in its registry"


def fetch(reference: str) -> None:
    """Pull an image from its registry, unless it is here.

    Raises:
        EngineError: it was not pulled.
    """
    if place(reference) == HERE:
        return
    command = ["docker", "pull", reference]
    print(f"$ {shlex.join(command)}", flush=True)
    if subprocess.run(command, check=False).returncode:
        raise EngineError(f"{reference} was not pulled")
