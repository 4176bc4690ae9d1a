"""The image that a run was made in: where it is, and fetching it."""

import os
import shlex
import subprocess

from docker.errors import DockerException, ImageNotFound

from ...containers import engine
from ...errors import CommandError, one_line

IN_REGISTRY = "in its registry"


def locate(reference: str) -> str:
    """Return where an image, `name@sha256:…`, is: `IN_REGISTRY`, or else here.

    Raises:
        CommandError: in neither, or no engine answers.
    """
    if reference == os.environ.get("WANDB_DOCKER"):
        return "which this is"
    client = engine.connect()
    digest = reference.rpartition("@")[2]
    for name in (reference, digest):  # one that was never pushed is known by its own id
        try:
            client.images.get(name)
            return "on this machine"
        except ImageNotFound:
            continue
    try:
        client.images.get_registry_data(reference)
    except DockerException as error:
        reason = one_line(error)
        raise CommandError(f"not on this machine, nor in a registry: {reason}") from None
    return IN_REGISTRY


def fetch(reference: str) -> None:
    """Pull an image from its registry, unless it is here.

    Raises:
        CommandError: it was not pulled.
    """
    if locate(reference) != IN_REGISTRY:
        return
    command = ["docker", "pull", reference]
    print(f"$ {shlex.join(command)}", flush=True)
    if subprocess.run(command, check=False).returncode:
        raise CommandError(f"{reference} was not pulled")
