"""Measure what a trial of a sweep costs beyond its training, and write the table of README.md.

    inv bench --sweeps    about twenty minutes

A trial's training and a bare one are the same command. The trials of a sweep all train the same:
what is searched does not change how long it takes.
"""

import os
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from measuring import ROOT, machine, script, seconds, table, write

TRIALS = (4, 32)
BARE = 5  # trainings


@dataclass(frozen=True)
class Training:
    """What is trained, and what is searched."""

    name: str
    framework: str
    overrides: tuple[str, ...]
    searched: str  # an interval in which each value takes as long


TRAININGS = (
    Training("scikit-learn", "scikit-learn", (), "model.estimator.C=interval(0.09,0.11)"),
    Training(
        "PyTorch, MLP",
        "pytorch",
        ("model=mlp", "trainer.max_epochs=5", "callbacks.early_stopping=null"),
        "model.dropout=interval(0.1,0.2)",
    ),
)


def set_up(folder: Path, framework: str) -> Path:
    """Make a project, with its environment and prepared data."""
    generate = (sys.executable, "-m", "cookiecutter", str(ROOT), "--no-input", "-f", "-o")
    seconds(*generate, str(folder / framework), f"framework={framework}")
    project = folder / framework / "my-ml-project"
    seconds(os.environ.get("UV", "uv"), "run", "inv", "setup", folder=project)
    seconds(script(project, "dvc"), "repro", "prepare", folder=project, **tools(project))
    return project


def tools(project: Path) -> dict[str, str]:
    """Return the variables with which a project's commands find its environment."""
    folder = str(Path(script(project, "inv")).parent)
    return {"PATH": os.pathsep.join([folder, os.environ["PATH"]])}


def bare(project: Path, training: Training) -> float:
    """Return the median seconds of a training by itself."""
    fixed = (*training.overrides, training.searched.replace("interval(", "").partition(",")[0])
    command = (script(project, "python"), "-m", "my_ml_project.train", *fixed)
    taken = []
    for number in range(BARE + 1):
        where = f"hydra.run.dir=runs/bare/{number}"
        taken.append(seconds(*command, where, folder=project, **tools(project)))
    return statistics.median(taken[1:])  # the first one finds no compiled bytecode


def swept(project: Path, training: Training, trials: int) -> float:
    """Return the seconds of a whole sweep: `inv sweep`, from the command to its end."""
    options = (f"--trials={trials}", f"--name=bench-{trials}")
    command = (script(project, "inv"), "sweep", *options, "--")
    took = seconds(*command, *training.overrides, training.searched, folder=project)
    shutil.rmtree(project / "sweeps")
    return took


def measure(project: Path, training: Training) -> list[list[str]]:
    """Return the rows of a training."""
    alone = bare(project, training)
    rows = []
    for trials in TRIALS:
        took = swept(project, training, trials)
        beyond = took / trials - alone
        cells = [f"{alone:.2f}", str(trials), f"{took:.1f}", f"{beyond:.2f}"]
        rows.append([training.name, *cells])
    return rows


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for training in TRAININGS:
            project = set_up(Path(folder).resolve(), training.framework)
            rows += measure(project, training)
    head = ["training", "by itself, s", "trials", "sweep, s", "a trial beyond its training, s"]
    write("sweeps", f"{machine()}\n\n{table(head, rows)}")


if __name__ == "__main__":
    main()
