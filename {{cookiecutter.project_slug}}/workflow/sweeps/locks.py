"""Locks that end with the processes that hold them, however those end."""

import sys
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

if sys.platform == "win32":
    import msvcrt
    import time

    def _take(file: BinaryIO, wait: bool) -> bool:
        while True:
            try:
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                return True
            except OSError:
                if not wait:
                    return False
                time.sleep(0.1)

else:
    import fcntl

    def _take(file: BinaryIO, wait: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True


class Lock:
    """A lock on a file: `with Lock(path):`, or `take` and `release`.

    On Linux and macOS a child that gets `fileno` by `pass_fds` holds it, too.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def take(self, wait: bool = False) -> bool:
        """Take the lock, and return whether it was free."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("ab")
        if _take(file, wait):
            self._file = file
            return True
        file.close()
        return False

    def release(self) -> None:
        """Release the lock, if this process holds it."""
        if self._file:
            self._file.close()
            self._file = None

    def fileno(self) -> int:
        """Return the descriptor of the file.

        Raises:
            ValueError: the lock is not taken.
        """
        if self._file is None:
            raise ValueError(f"{self._path} is not taken")
        return self._file.fileno()

    def __enter__(self) -> Self:
        self.take(wait=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
