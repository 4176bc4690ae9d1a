"""A file that DVC tracks, of a repository that is opened as it is or at a revision."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.exceptions import OutputNotFoundError
from dvc.fs import DVCFileSystem
from dvc.repo import Repo

from ..errors import CommandError, one_line

CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Place:
    """Where a file is kept: in the remote; without one, in the cache."""

    store: Any
    path: str
    md5: str

    @property
    def protocol(self) -> str:
        """DVC's name of the kind of storage, such as "s3"; of a folder, "local"."""
        return str(self.store.protocol)

    @property
    def url(self) -> str:
        return str(self.store.unstrip_protocol(self.path))

    def exists(self) -> bool:
        """Whether the file is there.

        Raises:
            CommandError: the remote does not answer.
        """
        try:
            return bool(self.store.exists(self.path))
        except Exception as error:  # each kind of remote has its own
            raise CommandError(f"its DVC remote: {one_line(error)}") from None


def locate(repo: Repo, path: Path) -> Place:
    """Return where a file is kept.

    Raises:
        CommandError: DVC has no such file, or the remote's client is missing.
    """
    try:
        index, entry = repo.get_data_index_entry(path.as_posix())
        store, key = index.storage_map.get_remote(entry)
    except OutputNotFoundError:
        raise CommandError("DVC has no such file there") from None
    except ImportError as error:
        raise CommandError(f"{one_line(error)}: inv setup") from None
    return Place(store, key, entry.hash_info.value)


def read(repo: Repo, path: Path) -> Iterator[bytes]:
    """Read a file piece by piece: from the cache, else from the remote.

    Raises:
        CommandError: neither has it, or the remote does not answer.
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
