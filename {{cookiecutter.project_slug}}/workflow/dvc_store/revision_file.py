"""A file in DVC's care, at a revision of the project: from the cache, else from the remote."""

from collections.abc import Iterator
from pathlib import Path

from dvc.fs import DVCFileSystem
from dvc.repo import Repo

from ..errors import CommandError, one_line

CHUNK_BYTES = 1 << 20


def read(repo: Repo, path: Path) -> Iterator[bytes]:
    """Read a file of an opened repository piece by piece.

    Raises:
        CommandError: neither cache nor remote has it, or the remote does not answer.
    """
    try:
        with DVCFileSystem(repo=repo).open(path.as_posix(), "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except FileNotFoundError:
        raise CommandError(
            "neither the DVC cache nor the remote has it: inv data.push where it was made, or"
            " make it again"
        ) from None
    except Exception as error:  # each kind of remote has its own
        raise CommandError(one_line(error)) from None
