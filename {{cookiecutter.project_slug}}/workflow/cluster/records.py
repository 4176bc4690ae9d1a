"""The files of each job in runs/cluster/ID/: its request, its log and its outcome."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import files
from ..config.values import nearest
from ..errors import CommandError
from ..paths import home

FOLDER = Path("runs/cluster")
RECORD = "job.json"
OUTCOME = "outcome.json"
ALIVE = "alive"  # touched while a job runs


@dataclass(frozen=True)
class Job:
    """A job that was submitted.

    Args:
        id: that SLURM gave it.
        name: of the experiment that it becomes, or of the sweep that it works on.
        kind: "train" or "sweep".
        overrides: as they were typed.
        snapshot: the worktree that its code is in; "" where it has none.
        tasks: of a job array; 0 if it is not one.
        submitted: seconds since 1970.
    """

    id: str
    name: str
    kind: str
    overrides: list[str]
    snapshot: str = ""
    tasks: int = 0
    submitted: float = field(default_factory=time.time)

    @property
    def folder(self) -> Path:
        return home() / FOLDER / self.id

    @property
    def task_ids(self) -> list[str]:
        """Its own id, or that of each task of the array."""
        return [f"{self.id}_{index}" for index in range(self.tasks)] or [self.id]

    @property
    def project(self) -> Path:
        """The project in its snapshot."""
        return Path(self.snapshot)

    @property
    def has_snapshot(self) -> bool:
        return bool(self.snapshot) and self.project.is_dir()

    @property
    def when(self) -> str:
        return f"{datetime.fromtimestamp(self.submitted):%Y-%m-%d %H:%M}"

    def log(self, task: str) -> Path:
        """Return where the output of the job, or of one of its tasks, is written."""
        return self.folder / f"{task}_0_log.out"

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        files.replace(self.folder / RECORD, json.dumps(asdict(self), indent=2) + "\n")


def find(job: str) -> Job:
    """Return the job of this id.

    Raises:
        CommandError: none was submitted from this project.
    """
    for record in every():
        if record.id == job:
            return record
    known = [record.id for record in every()]
    hint = nearest(job, known[-8:]) if known else "none was submitted from this project"
    raise CommandError(f"no job {job!r}; {hint}")


def every() -> Iterator[Job]:
    """Yield the jobs that were submitted from this project, oldest first."""
    jobs = []
    for path in (home() / FOLDER).glob(f"*/{RECORD}"):
        jobs.append(Job(**json.loads(path.read_text(encoding="utf-8"))))
    yield from sorted(jobs, key=lambda job: job.submitted)


def outcome(folder: Path, task: str) -> dict[str, Any] | None:
    """Return the outcome that a job wrote; None where it wrote none, or still runs.

    Keys: error (one line; None where it succeeded), metrics (by name).
    """
    path = folder / f"{task}_{OUTCOME}"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def write_outcome(folder: Path, task: str, error: str | None, metrics: dict[str, float]) -> None:
    files.replace(folder / f"{task}_{OUTCOME}", json.dumps({"error": error, "metrics": metrics}))
