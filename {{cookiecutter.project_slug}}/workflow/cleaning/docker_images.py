"""Images of the project, and the build cache of the Docker Engine."""

from collections.abc import Iterator

import docker
from docker.errors import APIError, DockerException
from docker.models.images import Image

from ..containers import engine, images
from ..errors import CommandError, one_line
from .item import Item


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
    found = client.images.list(filters={"label": label})
    used = {one.attrs["Image"] for one in client.containers.list(all=True, ignore_removed=True)}
    gone = [image for image in found if image.id not in used and _is_pushed(client, image)]
    sizes = {image.id: int(image.attrs["Size"]) for image in found}
    left = len(found) - len(gone)

    def remove() -> None:
        for image in gone:
            for name in image.tags:
                client.images.remove(name)

    stays = f"{left} not pushed, or in use: inv docker.push" if left else ""
    free = sum(sizes[image.id] for image in gone)
    return Item("Docker images", sum(sizes.values()), free, stays, remove)


def _is_pushed(client: docker.DockerClient, image: Image) -> bool:
    """Whether registries have each name of an image; the engine's own word for it is not enough."""
    references = [images.pushed_reference(image, tag) for tag in image.tags]
    try:
        for reference in references:
            if reference is None:
                return False
            client.api.inspect_distribution(reference)
    except APIError:
        return False
    return bool(references)


def _build_cache(client: docker.DockerClient) -> Item:
    records = client.df().get("BuildCache") or []
    size = sum(record["Size"] for record in records)
    return Item("Docker build cache", size, stays="of all projects here: docker buildx prune")
