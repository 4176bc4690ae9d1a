"""The state of an update, kept in the Git folder, so that it can be continued or aborted."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .. import files

FILE = "template-update.json"


@dataclass
class Step:
    """The merge of one version of the template, until its lock and its migrations are done.

    Args:
        ours: the project's commit before.
        old: the project's version before; None for one from before there were versions.
        new: the version that was merged.
        locks: uv.lock of the old version, of the project, and of the new version, as entries of a
            tree; "" where there is none.
        pyproject: pyproject.toml of the new version, in the same way.
        conflicts: paths from the repository's top.
    """

    ours: str
    old: str | None
    new: str | None
    locks: list[str]
    pyproject: str
    conflicts: list[str] = field(default_factory=list)


@dataclass
class Progress:
    """An update that is under way.

    Args:
        branch: where it happens.
        start: the branch that was checked out before; "" for none (a detached HEAD).
        commit: the commit before.
        target: the template's commit.
        answers: that were given for it.
        tests: whether checks and tests run at the end.
        step: the merge that is not finished, if there is one.
        notes: lines to print at the end.
    """

    branch: str
    start: str
    commit: str
    target: str
    answers: dict[str, str]
    tests: bool
    step: Step | None = None
    notes: list[str] = field(default_factory=list)


def read(git_dir: Path) -> Progress | None:
    """Return the update that is under way; None where there is none."""
    path = git_dir / FILE
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    step = content.pop("step")
    return Progress(step=Step(**step) if step else None, **content)


def write(git_dir: Path, progress: Progress) -> None:
    """Save the state of an update."""
    files.replace(git_dir / FILE, json.dumps(asdict(progress), indent=2))


def remove(git_dir: Path) -> None:
    """Forget an update that has ended."""
    (git_dir / FILE).unlink(missing_ok=True)
