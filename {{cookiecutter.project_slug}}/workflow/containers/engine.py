"""The Docker Engine: reaching it, and saying in one line what is wrong with it."""

import os
import shutil
import subprocess

import docker
from docker.errors import APIError, DockerException
from docker.types import DeviceRequest

from ..errors import CommandError, one_line

PLUGINS = {
    "buildx": "BuildKit builds the images: install Docker's plug-in buildx",
    "compose": "Compose runs the containers: install Docker's plug-in compose, version 2",
}


def connect() -> docker.DockerClient:
    """Return a client of the engine that the `docker` command uses.

    Raises:
        CommandError: the command or one of its plug-ins is missing, the engine does not answer,
            or not to this user.
    """
    if not shutil.which("docker"):
        raise CommandError("the command `docker` is missing: https://docs.docker.com/get-docker/")
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        raise CommandError(_why(str(error))) from None
    for plugin, fix in PLUGINS.items():
        answer = subprocess.run(
            ["docker", plugin, "version"], capture_output=True, text=True, check=False
        )
        if answer.returncode:
            raise CommandError(f"`docker {plugin}` is missing. {fix}")
    return client


def caller(client: docker.DockerClient) -> str:
    """Return "user:group" as whom a container writes what belongs to the caller.

    A rootless engine maps root to the caller; where users have no number, the image's own is right.
    """
    if any("rootless" in option for option in client.info().get("SecurityOptions") or []):
        return "0:0"
    return f"{os.getuid()}:{os.getgid()}" if hasattr(os, "getuid") else ""


def require_gpu(client: docker.DockerClient, image: str) -> None:
    """Start a container that asks for the GPUs, as the only way to know that it gets them.

    Raises:
        CommandError: it gets none.
    """
    every_gpu = DeviceRequest(count=-1, capabilities=[["gpu"]])
    container = client.containers.create(image, entrypoint="true", device_requests=[every_gpu])
    try:
        container.start()
    except APIError as error:
        raise CommandError(
            f"containers get no GPU here ({one_line(error.explanation)}). Install the "
            "NVIDIA Container Toolkit, then: sudo nvidia-ctk runtime configure --runtime=docker; "
            "sudo systemctl restart docker"
        ) from None
    finally:
        container.remove(force=True)


def _why(error: str) -> str:
    where = os.environ.get("DOCKER_HOST", "its socket")
    if "Permission" in error:
        return (
            f"no permission to use Docker at {where}: sudo usermod -aG docker $USER, "
            "then log in again"
        )
    return (
        f"no Docker Engine answers at {where}: start Docker Desktop, or: "
        "sudo systemctl start docker"
    )
