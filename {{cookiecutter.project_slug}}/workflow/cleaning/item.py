"""Something that takes room: how much, what of it can go, and why the rest stays."""

import os
import shutil
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


def _nothing() -> None:
    """Remove nothing."""


@dataclass(frozen=True)
class Item:
    """Something that takes room.

    Args:
        size: in bytes.
        free: how many of them `remove` frees.
        stays: what stays, why, and what to type so that it can go.
    """

    name: str
    size: int
    free: int = 0
    stays: str = ""
    remove: Callable[[], None] = _nothing


def kept(name: str, paths: Iterable[Path], why: str) -> Item:
    """Return an item of which nothing goes."""
    return Item(name, sum(map(size_of, paths)), stays=why)


def size_of(path: Path) -> int:
    """Return the bytes of a file or folder; of a link, its own. What is gone meanwhile has none."""
    try:
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode):
            return status.st_size
        with os.scandir(path) as entries:
            return sum(size_of(Path(entry.path)) for entry in entries)
    except OSError:
        return 0


def delete(path: Path) -> None:
    """Remove a file or folder, also one that is write-protected, as DVC's objects are."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists():
        path.chmod(path.stat().st_mode | stat.S_IWRITE)
        path.unlink()
