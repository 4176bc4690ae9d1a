"""Where runs are kept until they are uploaded: a folder of each process, with W&B's log in it."""

import os
import re
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..paths import home

HEADER = 7  # bytes of W&B's own at the start of a log
BLOCK = 32768
CHUNK_HEAD = 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
QUIET = 60  # seconds; a living run writes the use of its machine every 15


def wandb_folder() -> Path:
    """Return where runs are kept until they are uploaded: the project's folder `wandb`."""
    return home() / "wandb"


def run_folders(run: str, parent: Path | None = None) -> list[Path]:
    """Return the folders of a run: one for each process that wrote to it, in order."""
    parent = parent or wandb_folder()
    folder = Path(run).resolve()
    logs = sorted(folder.glob("run-*.wandb")) if folder.is_dir() else []
    if logs:
        parent, run = folder.parent, logs[0].stem.removeprefix("run-")
    if not re.fullmatch(r"[\w-]+", run):
        return []
    return sorted(log.parent for log in parent.glob(f"*run-*-{run}/run-{run}.wandb"))


def run_id(folders: list[Path]) -> str:
    """Return the id of the run that these folders are of."""
    return log_of(folders[0]).stem.removeprefix("run-")


def set_data_folder() -> None:
    """Say where offline artifacts wait for their upload.

    W&B's default is a folder in the home of the user, which is lost with a container.
    """
    os.environ.setdefault("WANDB_DATA_DIR", str(wandb_folder() / ".data"))


def repair(log: Path) -> None:
    """Cut off the record that a killed process left half-written.

    With half a record at the end, `wandb sync` never marks the log as uploaded, and leaves the
    run's later logs alone.
    """
    content = log.read_bytes()
    end = whole(content)
    if end < len(content):
        os.truncate(log, end)


def whole(content: bytes) -> int:
    """Return the length of a log up to the end of its last complete record."""
    return max((end for _, end in records(content)), default=HEADER)


def records(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield each complete record of a log, and where it ends.

    After W&B's header it is a LevelDB log (github.com/google/leveldb, doc/log_format.md): blocks
    of 32 KiB with chunks of checksum (4 bytes), length (2), type (1) and data. A record is one
    chunk (type 1), or a first (2), middle ones (3) and a last (4). No chunk starts in the last 6
    bytes of a block.
    """
    position = HEADER
    record = b""
    while position + CHUNK_HEAD <= len(content):
        room = BLOCK - position % BLOCK
        if room < CHUNK_HEAD:
            position += room
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        start = position + CHUNK_HEAD
        position = start + length
        if kind not in (FULL, FIRST, MIDDLE, LAST) or position > len(content):
            break
        record = (record if kind in (MIDDLE, LAST) else b"") + content[start:position]
        if kind in (FULL, LAST):
            yield record, position


def framed(header: bytes, records: Iterable[bytes]) -> bytes:
    """Return the log of these records: what `records` reads. The checksum is W&B's own: CRC-32."""
    log = bytearray(header)
    for record in records:
        rest, is_started = record, False
        while rest or not is_started:
            room = BLOCK - len(log) % BLOCK
            if room < CHUNK_HEAD:
                log += bytes(room)
                continue
            part, rest = rest[: room - CHUNK_HEAD], rest[room - CHUNK_HEAD :]
            kind = (LAST if is_started else FULL) if not rest else (MIDDLE if is_started else FIRST)
            checksum = zlib.crc32(part, zlib.crc32(bytes([kind])))
            log += struct.pack("<IHB", checksum, len(part), kind) + part
            is_started = True
    return bytes(log)


def written_lately(log: Path) -> bool:
    """Whether a process may still be writing: repairing its log would damage it."""
    return time.time() - log.stat().st_mtime < QUIET


def log_of(folder: Path) -> Path:
    return next(folder.glob("run-*.wandb"))


def marker(folder: Path) -> Path:
    return synced(log_of(folder))


def synced(log: Path) -> Path:
    """Return the file that `wandb sync` makes beside a log when it has uploaded it."""
    return log.with_suffix(".wandb.synced")
