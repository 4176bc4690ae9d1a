"""What a training leaves for later versions to read: models, checkpoints, records of runs.

Each says in which format it is, and which version of the workflow wrote it. What has no number is
of format 1. A format that changes gets the next number, and its reader reads the earlier ones too.
"""

import importlib.metadata
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import CommandError

FORMAT, VERSION = "format", "version"  # the keys


class LaterFormatError(CommandError):
    """A later version of the workflow wrote it; the text says which one can read it."""


def stamp(number: int) -> dict[str, Any]:
    """Return what something says of its format."""
    return {FORMAT: number, VERSION: version()}


def version() -> str:
    """Return the version of the workflow: of this folder, or of the installed package."""
    pyproject = Path(__file__).with_name("pyproject.toml")
    if pyproject.exists():
        return str(tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["version"])
    return importlib.metadata.version("workflow")


def require(stamped: Mapping[str, Any], newest: int, what: str) -> None:
    """Refuse what is of a later format than this version reads.

    Args:
        stamped: what it says of itself, with the keys of `stamp`.
        newest: the last format that is read.
        what: it is called, in the error.

    Raises:
        LaterFormatError: its format is a later one.
    """
    number = stamped.get(FORMAT, 1)
    if number > newest:
        raise LaterFormatError(
            f"{what}: version {stamped.get(VERSION)} of the workflow wrote it, in format {number};"
            f" this is version {version()}, which reads up to {newest}: update the project"
        )
