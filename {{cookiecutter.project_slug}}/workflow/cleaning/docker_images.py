"""Images of the project, and the build cache of the Docker Engine."""

from collections.abc import Iterator

import docker
from docker.errors import APIError, DockerException
from docker.models.images import Image

from ..containers import engine, images
from ..errors import CommandError, one_line
from .item import Item

NOT_PUSHED = "not pushed, or in use: inv docker.push"
UNNAMED = "without a name: docker image prune"


def items() -> Iterator[Item]:
    """Yield the images and the build cache; one line where there is no engine."""
    try:
        client = engine.connect()
        yield _images(client)
        yield _build_cache(client)
    except CommandError as error:
        yield Item("Docker images", 0, stays=str(error))
    except DockerException as error:
        yield Item("Docker images", 0, stays=one_line(error))


def _images(client: docker.DockerClient) -> Item:
    label = f"{images.LABEL}title={images.project()['name']}"
    built = client.images.list(filters={"label": label})
    used = {one.attrs["Image"] for one in client.containers.list(all=True, ignore_removed=True)}
    removable = [image for image in built if image.id not in used and _is_pushed(client, image)]
    sizes = {image.id: int(image.attrs["Size"]) for image in built}
    remaining = [image for image in built if image not in removable]
    unnamed = [image for image in remaining if not image.tags]
    counted = ((len(remaining) - len(unnamed), NOT_PUSHED), (len(unnamed), UNNAMED))

    def remove() -> None:
        for image in removable:
            for name in image.tags:
                client.images.remove(name)

    stays = "; ".join(f"{count} {why}" for count, why in counted if count)
    free = sum(sizes[image.id] for image in removable)
    return Item("Docker images", sum(sizes.values()), free, stays, remove)


def _is_pushed(client: docker.DockerClient, image: Image) -> bool:
    """Whether a registry has an image under one of its names.

    The engine's own word for it is not enough: the registry is asked.
    """
    return any(_is_there(client, images.pushed_reference(image, tag)) for tag in image.tags)


def _is_there(client: docker.DockerClient, reference: str | None) -> bool:
    try:
        return bool(reference and client.api.inspect_distribution(reference))
    except APIError:
        return False


def _build_cache(client: docker.DockerClient) -> Item:
    records = client.df().get("BuildCache") or []
    size = sum(record["Size"] for record in records)
    return Item("Docker build cache", size, stays="of all projects here: docker buildx prune")
