"""A training that is a trial of a sweep: what it reports, and whether it is to stop.

`inv sweep` starts it with the variable SWEEP_TRIAL, which names a folder. Both sides write files
there, so that a training needs nothing of what searches:

    run.json        the ids of the W&B run
    metrics.jsonl   a line for each epoch: its number, and the value of the metric that decides
    prune           made by the sweep: the training is to stop after the epoch that it is in
    result.json     written last: the value of the best epoch; none where the trial was pruned
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import files

VARIABLE = "SWEEP_TRIAL"
INTERRUPTED = "interrupted"  # starts the last line of a training that Ctrl-C has ended


class PrunedError(Exception):
    """The sweep has no use for the rest of this training: others are better at this epoch."""


@dataclass(frozen=True)
class Result:
    """What a training came to.

    Args:
        value: of the metric that decides, of the best epoch; None where it was pruned.
    """

    value: float | None
    pruned: bool


@dataclass(frozen=True)
class Exchange:
    """The folder in which a training and the sweep that started it exchange files."""

    folder: Path

    def start(self, run: dict[str, Any]) -> None:
        """Say which W&B run the training is, by its ids."""
        files.replace(self.folder / "run.json", json.dumps(run))

    def report(self, epoch: int, value: float) -> None:
        """Report the metric of an epoch, counted from 0."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"epoch": epoch, "value": value}) + "\n")

    @property
    def is_pruned(self) -> bool:
        """Whether the training is to stop."""
        return (self.folder / "prune").exists()

    def end(self, value: float | None, pruned: bool = False) -> None:
        """Say what the training came to: nothing of it is written after this."""
        files.replace(self.folder / "result.json", json.dumps({"value": value, "pruned": pruned}))

    def prune(self) -> None:
        """Have the training stop after its epoch."""
        (self.folder / "prune").touch()

    @property
    def run(self) -> dict[str, Any] | None:
        """The ids of the W&B run; None where the training has not started one."""
        return self._read("run.json")

    @property
    def result(self) -> Result | None:
        """What the training came to; None where it has not ended."""
        content = self._read("result.json")
        return Result(**content) if content else None

    @property
    def reports(self) -> list[tuple[int, float]]:
        """The epochs and values that were reported; a resumed training repeats some."""
        file = self.folder / "metrics.jsonl"
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        rows = [json.loads(line) for line in text.splitlines(keepends=True) if _is_whole(line)]
        return [(row["epoch"], row["value"]) for row in rows]

    def _read(self, name: str) -> dict[str, Any] | None:
        file = self.folder / name
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def exchange() -> Exchange | None:
    """Return the folder to exchange files in; None in a training that is no trial."""
    folder = os.environ.get(VARIABLE)
    return Exchange(Path(folder)) if folder else None


def _is_whole(line: str) -> bool:
    """Whether a line of JSON was written to its end: a kill can cut it, and the next follows it."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return line.endswith("\n")
