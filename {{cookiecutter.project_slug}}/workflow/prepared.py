"""Prepared data: SPLIT_INPUT.npy for each input, and SPLIT_target.npy; or inputs in shards."""

import io
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import numpy as np

from .files import replacing_folder
from .shards import Index, Rows, Shards, read_index, shard_name, verify


def read_split(
    folder: Path, split: str, inputs: Iterable[str] = ()
) -> tuple[dict[str, Rows], np.ndarray]:
    """Return the inputs (n, …) by name and the target (n,) of a split, memory-mapped.

    Args:
        split: "train", "validation" or "test".
        inputs: the names of the inputs to read, as in conf/data/.

    Raises:
        ShardError: a file that is read is not what was written.
    """
    index = read_index(folder)
    target = folder / f"{split}_target.npy"
    if index is None:
        arrays: dict[str, Rows] = {name: _map(folder / f"{split}_{name}.npy") for name in inputs}
    else:
        verify(target, index)
        arrays = {name: Shards(folder, split, name, index) for name in inputs}
    return arrays, _map(target)


def read_arrays(
    folder: Path, split: str, inputs: Iterable[str]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the same as arrays; shards are read into memory."""
    rows, target = read_split(folder, split, inputs)
    return {name: np.asarray(rows[name]) for name in rows}, target


def write(
    folder: Path,
    pieces: Iterable[Mapping[str, np.ndarray]],
    target: np.ndarray,
    parts: Mapping[str, np.ndarray],
    shard_mb: float | None = None,
) -> None:
    """Write the samples of each split; what was in the folder goes when all is written.

    Args:
        pieces: inputs (n, …) by name, of some samples after the other: no more are in memory.
        target: (n,), of all samples.
        parts: the sorted indices of the samples of each split.
        shard_mb: of a shard, in MiB; None: a file for each input.
    """
    with replacing_folder(folder) as unfinished, ExitStack() as stack:
        writers: dict[tuple[str, str], _Writer] = {}
        size, first = 0, 0
        for piece in pieces:
            if shard_mb and not size:
                sample = sum(array[:1].nbytes for array in piece.values())
                size = max(1, int(shard_mb * 2**20) // max(1, sample))
            number = len(next(iter(piece.values())))
            for split, indices in parts.items():
                begin, end = np.searchsorted(indices, [first, first + number])
                members = indices[begin:end] - first
                for name, array in piece.items():
                    if (split, name) not in writers:
                        writer = _Writer(unfinished, split, name, len(indices), size)
                        writers[split, name] = stack.enter_context(writer)
                    writers[split, name].append(array[members])
            first += number
        files: dict[str, tuple[int, int]] = {}
        for split, indices in parts.items():
            with _Writer(unfinished, split, "target", len(indices), 0) as writer:
                writer.append(target[indices])
            files |= writer.files
        stack.close()
        if shard_mb:
            for writer in writers.values():
                files |= writer.files
            samples = {split: len(indices) for split, indices in parts.items()}
            Index(shard_mb, size, samples, files).write(unfinished)


def _map(path: Path) -> np.ndarray:
    # "c", copy on write: PyTorch warns of arrays that cannot be written.
    array: np.ndarray = np.load(path, mmap_mode="c")
    return array


class _Writer:
    """Writes an input of a split, some rows after the other, as np.save would.

    Args:
        total: how many rows there will be.
        size: rows of a shard; 0: all in one file.
    """

    def __init__(self, folder: Path, split: str, name: str, total: int, size: int) -> None:
        self.files: dict[str, tuple[int, int]] = {}  # bytes and CRC-32 of each file
        self._folder, self._split, self._name = folder, split, name
        self._waiting, self._size = total, size  # rows without a file so far
        self._left = 0  # rows that the open file still gets
        self._file: BinaryIO | None = None

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, rows: np.ndarray) -> None:
        while len(rows):
            if not self._left:
                self._open(rows)
            part, rows = rows[: self._left], rows[self._left :]
            self._put(part.tobytes())
            self._left -= len(part)

    def _open(self, rows: np.ndarray) -> None:
        """Begin a file of rows such as these."""
        if self._file is not None:
            self._file.close()
        shard = shard_name(self._split, self._name, len(self.files))
        path = self._folder / (shard if self._size else f"{self._split}_{self._name}.npy")
        self._file = path.open("wb")
        self.files[path.name] = (0, 0)
        self._left = min(self._size or self._waiting, self._waiting)
        self._waiting -= self._left
        header = io.BytesIO()
        described = {"descr": np.lib.format.dtype_to_descr(rows.dtype), "fortran_order": False}
        shape = (self._left, *rows.shape[1:])
        np.lib.format.write_array_header_1_0(header, {**described, "shape": shape})
        self._put(header.getvalue())

    def _put(self, content: bytes) -> None:
        assert self._file is not None
        self._file.write(content)
        name = Path(self._file.name).name
        size, crc = self.files[name]
        self.files[name] = (size + len(content), crc32(content, crc))
