"""Runs in wandb/: what W&B has can go, and nothing else."""

import json
from collections.abc import Iterator
from pathlib import Path

from ..errors import CommandError
from ..paths import home
from ..tracking import log_reader
from ..tracking.transaction_log import log_of, marker, wandb_folder, written_lately
from .item import Item, delete, size_of

UNFINISHED = "runs/*/unfinished/state.json"  # of a training that was interrupted


def items() -> Iterator[Item]:
    """Yield the runs, and the files that wait for their upload."""
    runs: dict[str, list[Path]] = {}
    for log in sorted(wandb_folder().glob("*run-*/run-*.wandb")):
        runs.setdefault(log.stem.removeprefix("run-"), []).append(log.parent)
    resumed = {run for path in home().glob(UNFINISHED) for run in _run_of(path)}
    uploaded = [run for run, folders in runs.items() if run not in resumed and is_uploaded(folders)]
    removable = [folder for run in uploaded for folder in runs[run]]
    remaining = [
        folder for run, folders in runs.items() if run not in uploaded for folder in folders
    ]
    if runs:
        why = f"{len(runs) - len(uploaded)} not uploaded"
        yield _item("runs in wandb/", removable, remaining, why)
    staged = _staged()
    if staged:
        waiting = _waiting(remaining)
        removable = [path for path in staged if waiting is not None and path.name not in waiting]
        remaining = [path for path in staged if path not in removable]
        yield _item("files of artifacts in wandb/", removable, remaining, "")


def is_uploaded(folders: list[Path]) -> bool:
    """Whether W&B has all that the processes of a run have logged, and none is at work."""
    return all(marker(f).exists() and not written_lately(log_of(f)) for f in folders)


def has_waiting(folder: Path) -> bool:
    """Whether a project has runs that are not uploaded."""
    return any(
        not marker(log.parent).exists() for log in (folder / "wandb").glob("*run-*/run-*.wandb")
    )


def _run_of(state: Path) -> list[str]:
    """Return the run that an interrupted training resumes; none in a file that cannot be read."""
    try:
        return [str(json.loads(state.read_text(encoding="utf-8"))["run_id"])]
    except (OSError, ValueError, KeyError):
        return []


def _item(name: str, removable: list[Path], remaining: list[Path], why: str) -> Item:
    free = sum(map(size_of, removable))
    stays = ""
    if remaining:
        stays = f"{why}: inv wandb.sync" if why else "wait for their upload"

    def remove() -> None:
        for path in removable:
            delete(path)
        latest = wandb_folder() / "latest-run"
        if latest.is_symlink() and not latest.exists():
            latest.unlink()

    return Item(name, free + sum(map(size_of, remaining)), free, stays, remove)


def _staged() -> list[Path]:
    folder = wandb_folder() / ".data"
    return [path for path in folder.rglob("*") if path.is_file()]


def _waiting(folders: list[Path]) -> set[str] | None:
    """Return the names of files that these runs are still to upload; None where that is not known.

    W&B draws the names; the folders that a log has are those of before a project was moved.
    """
    waiting: set[str] = set()
    for folder in folders:
        if written_lately(log_of(folder)):
            return None  # an artifact may not be in its log yet
        try:
            waiting |= {path.name for path in log_reader.staged(log_reader.read(folder).artifacts)}
        except CommandError:
            return None
    return waiting
