"""Branches of updates: their names, and the one in origin that an update is pushed to.

A project has one open update. A newer version goes to the branch of the earlier one, and so into
its pull request, where all commits on it were made by the weekly job or a fleet.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .. import git
from . import record
from .migrations import number
from .record import Record

REMOTE = "origin"
PREFIX = "template-update-"
COMMITTER = "Template update"  # of the weekly job and of fleets: what others commit stays
VERSION = re.compile(r"\d+(\.\w+)*|[0-9a-f]{7}")


class Target(NamedTuple):
    """Where an update is pushed to.

    Args:
        branch: in origin.
        tip: its commit there; "" where there is none.
        has_update: it is this very update already.
        has_others: it has commits of others.
    """

    branch: str
    tip: str = ""
    has_update: bool = False
    has_others: bool = False

    @property
    def is_kept(self) -> bool:
        """Whether nothing is pushed there."""
        return self.has_update or self.has_others


def name(prefix: str, version: str) -> str:
    """Return the branch of an update.

    Args:
        prefix: the project's folder in its repository, with a slash at its end.
    """
    return f"{_beginning(prefix)}{version}"


def target(project: Path, branch: str) -> Target:
    """Return where the update that is checked out goes to, by the branches fetched from origin."""
    new = record.read(project)
    old = next((one for one in previous(project) if one.commit != new.commit), None)
    prefix = git.text(project, "rev-parse", "--show-prefix") or ""
    known = []
    for other, tip in _fetched(project, _beginning(prefix)):
        there = _recorded(project, tip)
        committers = (git.text(project, "log", "--format=%cn", tip, "^HEAD") or "").splitlines()
        if other == branch or (committers and there and _is_newer(there, old)):
            has_others = bool(set(committers) - {COMMITTER})
            version = number(there.version) if there else ()
            rank = (has_others, other == branch, version)
            known.append((rank, Target(other, tip, there == new, has_others)))
    return max(known)[1] if known else Target(branch)


def previous(project: Path) -> Iterator[Record]:
    """Yield the record as the commits before the current one have it, the newest first."""
    for back in range(1, 20):
        recorded = _recorded(project, f"HEAD~{back}")
        if recorded is None:
            return
        yield recorded


def _beginning(prefix: str) -> str:
    folder = prefix.strip("/").replace("/", "-")
    return f"{PREFIX}{folder}-" if folder else PREFIX


def _fetched(project: Path, beginning: str) -> Iterator[tuple[str, str]]:
    """Yield the branches of updates in origin, and their commits."""
    within = f"refs/remotes/{REMOTE}/"
    pattern = f"{within}{beginning}*"
    listed = git.text(project, "for-each-ref", "--format=%(refname) %(objectname)", pattern) or ""
    for line in listed.splitlines():
        ref, _, commit = line.partition(" ")
        branch = ref.removeprefix(within)
        if VERSION.fullmatch(branch.removeprefix(beginning)):  # else of a project in a folder
            yield branch, commit


def _is_newer(there: Record, old: Record | None) -> bool:
    """Whether a branch's update is not in the project yet; it may be, by a squashed merge."""
    if old is None:
        return True
    return there.commit != old.commit and number(there.version) >= number(old.version)


def _recorded(project: Path, commit: str) -> Record | None:
    content = git.ask(project, "show", f"{commit}:./{record.FILE}")
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        return record.parse(content.decode()) if content is not None else None
    return None
