"""Sweeps that are killed again and again, and what has come out of them."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from driving import UV

if TYPE_CHECKING:
    from driving import Project

KINDS = {  # of processes, by what is in their command line
    "driver": "-m workflow.sweeps --",
    "worker": "-m workflow.sweeps.worker --sweep",
    "trial": "hydra.run.dir=",
}
KILLED = ("trial", "worker", "driver", "trial", "trial", "worker")  # one after the other
# What a study holds, and what the files of its trials say.
REPORT = """
import json, sys
from workflow.sweeps import study
from workflow.trial import Exchange
sweep = study.open(sys.argv[1])
print(json.dumps([{
    "number": trial.number,
    "state": trial.state.name,
    "value": trial.value,
    "params": trial.params,
    "reports": trial.intermediate_values,
    **trial.user_attrs,
    "results": [
        exchange.result and exchange.result.value
        for seed in sweep.plan.seeds
        for exchange in [Exchange(sweep.trial_folder(trial.number) / f"seed-{seed}")]
    ],
} for trial in sweep.trials]))
"""
# Of each offline run: id, group, name and tags, as the last record says.
RUNS = """
import json
from pathlib import Path
from workflow.tracking.log_reader import read_records
runs = {}
for log in sorted(Path("wandb").glob("offline-run-*/run-*.wandb")):
    for record in read_records(log.read_bytes()):
        if record.WhichOneof("record_type") == "run":
            run = record.run
            runs[run.run_id] = (run.run_group, run.display_name, [*run.tags])
print(json.dumps(runs))
"""


def trials(project: Project, name: str) -> list[dict[str, Any]]:
    """What the study of a sweep holds, trial by trial."""
    printed = project.run("python", "-c", REPORT, name)
    return json.loads(printed.splitlines()[-1])


def runs(project: Project) -> dict[str, tuple[str, str, list[str]]]:
    """The group, the name and the tags of each W&B run, by its id."""
    return json.loads(project.run("python", "-c", RUNS).splitlines()[-1])


def processes(name: str) -> list[tuple[psutil.Process, str, str]]:
    """The processes of a sweep that are alive: each with its kind and its command."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        for kind, mark in KINDS.items():
            if mark in command and name in command and "python" in command:
                found.append((process, kind, command))
    return found


def run_killed(
    project: Project,
    name: str,
    options: list[str],
    kills: int,
    seed: int,
    pause: float,
    epochs: bool = False,
) -> list[str]:
    """Run a sweep until it ends, killing a random process of it now and then.

    Args:
        name: of the sweep, that no other process has in its command line.
        kills: how many.
        pause: the longest time between two, in seconds.
        epochs: kill only while a training has an epoch behind it.

    Returns:
        The kinds of what was killed, in order.
    """
    draw = random.Random(seed)
    killed: list[str] = []
    command = [UV, "run", "--no-sync", "python", "-m", "workflow.sweeps", "--name", name, *options]
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline:
        process = subprocess.Popen(
            command,
            cwd=project.path,
            env=project.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while process.poll() is None and len(killed) < kills:
            time.sleep(draw.uniform(0.2, pause))
            kind = KILLED[len(killed) % len(KILLED)]
            alive = processes(name)
            at_work = [one for one in alive if _is_at_work(*one[1:], epochs)]
            others = [one for one in alive if one[1] != "trial"]
            victims = [process for process, found, _ in [*others, *at_work] if found == kind]
            if victims and at_work:
                with contextlib.suppress(psutil.NoSuchProcess):  # it has ended by itself
                    draw.choice(victims).kill()
                    killed.append(kind)
        printed, _ = process.communicate()
        if process.returncode == 0:
            return killed
        assert process.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), printed
    raise AssertionError(f"sweep {name} has not ended; killed: {killed}")


def _is_at_work(kind: str, command: str, epochs: bool) -> bool:
    """Whether a process trains, and has reported an epoch, if that is asked for."""
    if kind != "trial":
        return False
    folder = Path(command.rpartition("hydra.run.dir='")[2].rstrip("'"))
    return not epochs or (folder / "metrics.jsonl").exists()
