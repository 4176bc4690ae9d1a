"""Files that are written whole or not at all: whatever ends the process, the old one is there."""

import os
from pathlib import Path


def replace(path: Path, content: str | bytes) -> None:
    """Write a file beside `path`, and then put it in its place; the mode of an old one stays.

    Args:
        content: text is written as UTF-8, with \\n as line end.
    """
    unfinished = path.with_name(f"{path.name}.unfinished")
    with unfinished.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())  # or a machine that goes down leaves an empty file in its place
    if path.exists():
        unfinished.chmod(path.stat().st_mode)
    unfinished.replace(path)
