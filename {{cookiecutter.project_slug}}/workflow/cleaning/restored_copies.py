"""Projects that `inv restore` made: one that nobody changed can be restored again."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ..runs.restoring import restore
from ..runs.restoring.restore import Restored
from . import uploaded_runs
from .item import Item, size_of

BY_HAND = ("multirun", "outputs", "sweeps")


def items(copies: list[Restored]) -> Iterator[Item]:
    """Yield each copy."""
    for copy in copies:
        size, why = size_of(copy.folder), reason(copy)
        name = f"restored {copy.run}"
        if why:
            yield Item(name, size, stays=f"{why}: {copy.folder}")
        else:
            yield Item(name, size, size, remove=partial(restore.remove, copy.folder))


def reason(copy: Restored) -> str:
    """Return why a copy stays; "" where it can go."""
    if copy.is_unfinished:
        return "its restore is at work, or was killed"
    if not copy.is_unchanged():
        return "changed since it was restored"
    if uploaded_runs.has_waiting(copy.project):
        return "it has runs that are not uploaded"
    if any((copy.project / name).exists() for name in BY_HAND):
        return "something was run there by hand"
    return ""


def projects(copies: list[Restored]) -> list[Path]:
    return [copy.project for copy in copies]
