"""The inputs of prepared data in several files, for data that does not fit in memory.

A shard of input I of split S is S_I-00000.npy, with as many samples as `shard_mb` has room for; the
target of a split is one file. INDEX says how large each file is, and its CRC-32.
"""

import contextlib
import json
import os
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from . import object_store
from .errors import CommandError

INDEX = "index.json"
FETCHED = "fetched"  # folder of the shards that were read from an object store
OPEN = 64  # shards of an input that are mapped at a time; all of FETCHED
FIX = "inv train restores it from the cache of DVC, or writes it again"


class ShardError(CommandError):
    """A file of the prepared data is missing or damaged; the text names it."""


class Rows(Protocol):
    """Samples (n, …): an array, or shards. A slice or indices give an array."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True)
class Index:
    """What INDEX says.

    Args:
        shard_mb: that a shard has at most, of all inputs together, in MiB.
        shard_size: samples of a shard.
        samples: of each split.
        files: bytes and CRC-32 of each file, by its name.
        address: of the object store that has the inputs, if they are not here.
    """

    shard_mb: float
    shard_size: int
    samples: dict[str, int]
    files: dict[str, tuple[int, int]]
    address: str | None = None

    def write(self, folder: Path) -> None:
        content = {"format": 1, **{key: vars(self)[key] for key in vars(self) if vars(self)[key]}}
        (folder / INDEX).write_text(json.dumps(content, indent=0) + "\n", encoding="utf-8")

    def sizes(self, split: str) -> list[int]:
        """Return how many samples each shard of a split has."""
        whole, rest = divmod(self.samples[split], self.shard_size)
        return [self.shard_size] * whole + [rest] * (rest > 0)


def read_index(folder: Path) -> Index | None:
    """Return the index of a folder of shards; None where its arrays are whole.

    Raises:
        ShardError: the index is damaged.
    """
    path = folder / INDEX
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        del content["format"]
        files = {name: (size, crc) for name, (size, crc) in content.pop("files").items()}
        return Index(**content, files=files)
    except (KeyError, TypeError, ValueError):
        raise ShardError(f"{path.as_posix()}: is damaged: {FIX}") from None


def require_shards(folder: Path, shard_mb: float) -> Index:
    """Return the index of a folder in which each shard is there, of its size.

    Raises:
        ShardError: there are none of `shard_mb`, or one is missing or truncated.
    """
    index = read_index(folder)
    if index is None or index.shard_mb != shard_mb:
        has = f"shards of {index.shard_mb:g} MB" if index else "no shards"
        problem = f"has {has}, loader.shard_mb is {shard_mb:g}: stage prepare writes them"
        raise ShardError(f"{folder.as_posix()}: {problem}")
    for name, (size, _) in index.files.items():
        path = folder / name
        if not path.exists():
            if index.address:
                continue  # it is fetched when it is read
            raise ShardError(f"{path.as_posix()}: is missing: {FIX}")
        if (actual := path.stat().st_size) != size:
            raise ShardError(f"{path.as_posix()}: has {actual:,} bytes, not {size:,}: {FIX}")
    return index


def verify(path: Path, index: Index) -> None:
    """Read a file once and compare its CRC-32.

    Raises:
        ShardError: it is missing, or has another content than was written.
    """
    crc = 0
    try:
        with path.open("rb") as file:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
            while block := file.read(2**20):
                crc = zlib.crc32(block, crc)
    except OSError as error:
        raise ShardError(f"{path.as_posix()}: {error.strerror or error}: {FIX}") from None
    if crc != index.files[path.name][1]:
        raise ShardError(f"{path.as_posix()}: is damaged, its CRC-32 is another: {FIX}")


def shard_name(split: str, array: str, number: int) -> str:
    return f"{split}_{array}-{number:05}.npy"


class Shards:
    """An input of a split, (n, …), in shards: each is mapped when it is read, and read as a whole
    the first time, to compare its CRC-32.

    A slice or indices give an array of their own in memory.
    """

    def __init__(self, folder: Path, split: str, name: str, index: Index) -> None:
        self._folder, self._split, self._name, self._index = folder, split, name, index
        self._maps: OrderedDict[int, np.ndarray] = OrderedDict()  # the last one used at the end
        self._verified: set[int] = set()
        first = self._shard(0)
        self.shape = (index.samples[split], *first.shape[1:])
        self.dtype = first.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any, /) -> Any:
        if isinstance(key, int | np.integer):
            return self[[key]][0]
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            return self._slice(start, stop) if step == 1 else self[np.arange(start, stop, step)]
        indices = np.asarray(key)
        if indices.dtype == bool:
            indices = np.flatnonzero(indices)
        indices = np.where(indices < 0, indices + len(self), indices).astype(np.int64)
        if len(indices) and not (indices.min() >= 0 and indices.max() < len(self)):
            raise IndexError(f"samples are 0 to {len(self) - 1}")
        rows = np.empty((len(indices), *self.shape[1:]), self.dtype)
        numbers, places = np.divmod(indices, self._index.shard_size)
        for number in np.unique(numbers).tolist():
            members = np.flatnonzero(numbers == number)
            rows[members] = self._shard(number)[places[members]]
        return rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_maps": OrderedDict()}  # a map would be pickled as what is in it

    def _slice(self, start: int, stop: int) -> np.ndarray:
        rows = np.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        size, at = self._index.shard_size, start
        while at < stop:
            number, place = divmod(at, size)
            end = min(stop, (number + 1) * size)
            rows[at - start : end - start] = self._shard(number)[place : place + end - at]
            at = end
        return rows

    def _shard(self, number: int) -> np.ndarray:
        if number in self._maps:
            self._maps.move_to_end(number)
            return self._maps[number]
        path = self._folder / shard_name(self._split, self._name, number)
        if self._index.address and not path.exists():
            path = self._fetch(path.name)
        if number not in self._verified:
            verify(path, self._index)
            self._verified.add(number)
        self._maps[number] = np.load(path, mmap_mode="r")
        if len(self._maps) > OPEN:
            self._maps.popitem(last=False)
        return self._maps[number]

    def _fetch(self, name: str) -> Path:
        """Return a shard of the object store, in a folder that has the last ones alone."""
        assert self._index.address is not None
        path = self._folder / FETCHED / name
        if path.exists():
            path.touch()
            return path
        object_store.fetch(name, self._index.address, path)
        by_age = sorted(path.parent.glob("*.npy"), key=lambda file: file.stat().st_mtime)
        for old in by_age[:-OPEN]:
            with contextlib.suppress(OSError):  # another process was first, or Windows maps it
                old.unlink()
        return path
