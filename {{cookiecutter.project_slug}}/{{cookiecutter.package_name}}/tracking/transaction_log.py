"""Where runs are kept until they are uploaded: a folder of each process, with W&B's log in it."""

import os
import struct
import time
from pathlib import Path

from ..paths import home

HEADER = 7  # bytes of W&B's own at the start of a log
QUIET = 60  # seconds; a living run writes the use of its machine every 15


def wandb_folder() -> Path:
    """Return where runs are kept until they are uploaded: the project's folder `wandb`."""
    return home() / "wandb"


def set_data_folder() -> None:
    """Say where offline artifacts wait for their upload.

    W&B's default is a folder in the home of the user, which is lost with a container.
    """
    os.environ.setdefault("WANDB_DATA_DIR", str(wandb_folder() / ".data"))


def mend(log: Path) -> None:
    """Cut off the record that a killed process left half-written.

    With half a record at the end, `wandb sync` never marks the log as uploaded, and leaves the
    run's later logs alone.
    """
    content = log.read_bytes()
    end = whole(content)
    if end < len(content):
        os.truncate(log, end)


def whole(content: bytes) -> int:
    """Return the length of a log up to the end of its last complete record.

    After W&B's header it is a LevelDB log (github.com/google/leveldb, doc/log_format.md): blocks
    of 32 KiB with chunks of checksum (4 bytes), length (2), type (1) and data. A record is one
    chunk (type 1), or a first (2), middle ones (3) and a last (4). No chunk starts in the last 6
    bytes of a block.
    """
    block, head = 32768, 7
    end = position = HEADER
    while position + head <= len(content):
        left = block - position % block
        if left < head:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        position += head + length
        if kind not in (1, 2, 3, 4) or position > len(content):
            break
        if kind in (1, 4):
            end = position
    return end


def written_lately(log: Path) -> bool:
    """Whether a process may still be writing: mending its log would damage it."""
    return time.time() - log.stat().st_mtime < QUIET


def log_of(folder: Path) -> Path:
    return next(folder.glob("run-*.wandb"))


def marker(folder: Path) -> Path:
    """Return the file that `wandb sync` makes beside a log when it has uploaded it."""
    return log_of(folder).with_suffix(".wandb.synced")
