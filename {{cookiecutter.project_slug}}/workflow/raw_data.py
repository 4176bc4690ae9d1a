"""Raw data, read in pieces: NAME.npz, or a folder NAME/ of such files, one after the other.

Arrays of a file are members of a zip, compressed or not: each is read from its first sample to its
last, and no more than a piece of it is in memory.
"""

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np

from .errors import CommandError
from .signature import SignatureError

PIECE = 2**23  # bytes of raw data that are read at a time


class RawData:
    """The arrays (n, …) of some files, by name: the samples of one after those of the other.

    Args:
        files: which are read when something is asked.

    Attributes:
        reading: the file that is read.
        first: the place, in that file, of the first sample of the piece that is read.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)
        self.reading = self._files[0]
        self.first = 0

    @cached_property
    def sizes(self) -> dict[str, int]:
        """How many samples each array has.

        Raises:
            SignatureError: a file lacks an array of the others, or holds Python objects.
            OSError, ValueError, BadZipFile: a file cannot be read.
        """
        return {name: sum(sizes[name] for sizes in self._by_file) for name in self._by_file[0]}

    def pieces(self, names: Iterable[str]) -> Iterator[dict[str, np.ndarray]]:
        """Yield some samples of these arrays after the other.

        Raises:
            OSError, ValueError, BadZipFile, zlib.error: a file cannot be read.
        """
        names = list(names)
        for path, sizes in zip(self._files, self._by_file, strict=True):
            self.reading = path
            with zipfile.ZipFile(path) as archive, ExitStack() as stack:
                members = {name: stack.enter_context(_Member(archive, name)) for name in names}
                rows = max(1, PIECE // max(1, sum(m.row_bytes for m in members.values())))
                for self.first in range(0, sizes[names[0]], rows):
                    number = min(rows, sizes[names[0]] - self.first)
                    yield {name: member.read(number) for name, member in members.items()}

    @cached_property
    def _by_file(self) -> list[dict[str, int]]:
        """How many samples each array has in each file."""
        by_file: list[dict[str, int]] = []
        for path in self._files:
            self.reading = path
            with zipfile.ZipFile(path) as archive:
                sizes = {}
                for name in archive.namelist():
                    with _Member(archive, name.removesuffix(".npy")) as member:
                        sizes[name.removesuffix(".npy")] = len(member)
            by_file.append(sizes)
            if lacking := sorted({*by_file[0]} ^ {*sizes}):
                other = self._files[0].name
                raise SignatureError(f"array {lacking[0]} is either here or in {other}")
            if len(self._files) > 1 and len({*sizes.values()}) > 1:
                raise SignatureError(f"the arrays differ in their number of samples: {sizes}")
        return by_file


def locate(folder: Path, name: str) -> RawData:
    """Open the raw data of a name in a folder.

    Raises:
        CommandError: there is none, or it is there twice.
    """
    one, parts = folder / f"{name}.npz", sorted((folder / name).glob("*.npz"))
    if one.exists() and parts:
        names = f"{one.as_posix()} and {one.with_suffix('').as_posix()}/"
        raise CommandError(f"there are {names}: remove the one that is not the data")
    if not one.exists() and not parts:
        raise CommandError(f"{one.as_posix()}: is missing: run stage fetch")
    return RawData(parts or [one])


class _Member:
    """An array in an .npz file, read from its start to its end."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._name = name
        self._file: IO[bytes] = archive.open(f"{name}.npy")
        version = np.lib.format.read_magic(self._file)
        readers: dict[Any, Any] = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:
            raise SignatureError(f"{name} is not an array of numbers or texts")
        self._shape, is_fortran, self._dtype = readers[version](self._file)
        if self._dtype.hasobject:
            fix = "save texts as .astype(str), numbers as .astype(float)"
            raise SignatureError(f"{name} holds Python objects: {fix}")
        if not self._shape:
            raise SignatureError(f"{name} is one value, not one for each sample")
        self.row_bytes = self._dtype.itemsize * int(np.prod(self._shape[1:]))
        self._by_column = is_fortran and len(self._shape) > 1
        self._whole: np.ndarray | None = None
        self._at = 0

    def __len__(self) -> int:
        return int(self._shape[0])

    def __enter__(self) -> "_Member":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, rows: int) -> np.ndarray:
        """Return the next rows."""
        self._at += rows
        if self._by_column:  # no sample is in one place: the array is read as a whole
            if self._whole is None:
                flat = np.frombuffer(self._file.read(), self._dtype)
                self._whole = flat.reshape(self._shape, order="F")
            return self._whole[self._at - rows : self._at]
        size = rows * self.row_bytes
        content = self._file.read(size)
        if len(content) != size:
            raise ValueError(f"{self._name} ends in sample {self._at - rows}: it is cut off")
        if self._at == len(self):
            self._file.read(1)  # at its end the CRC-32 of the zip is compared
        return np.frombuffer(content, self._dtype).reshape(rows, *self._shape[1:])
