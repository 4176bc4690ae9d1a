"""The uv that makes environments and solves locks."""

import os
import shutil

from .errors import CommandError


def find() -> str | None:
    """Return the uv that runs this environment, which `uv run` names in UV, or that on the PATH."""
    return os.environ.get("UV") or shutil.which("uv")


def command() -> str:
    """Return the same.

    Raises:
        CommandError: there is none.
    """
    if path := find():
        return path
    raise CommandError("uv is not installed: pip install uv")
