"""Following a job: its log as it is written, and how it ended, whoever ended it."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import CommandError
from ..results import metric_text
from . import records, scheduler
from .records import Job
from .scheduler import REASONS, State

LOOK_SECONDS = 0.5  # between two looks at the log
ASK_SECONDS = 3  # between two queries of SLURM
SILENT_SECONDS = 25  # without a touch of its file: the node is reported as silent
GONE_SECONDS = 6  # for which SLURM may not know a new job yet
LAST_LINES = 10
WAITS, RUNS, SUCCEEDED, FAILED = "waits", "runs", "succeeded", "failed"
UNKNOWN = "is unknown"  # where SLURM does not answer


@dataclass(frozen=True)
class Standing:
    """The state of a job, or of a task of an array.

    Args:
        state: one of the above.
        text: more of it: why it waits, where it runs, what came out, why it failed.
    """

    state: str
    text: str = ""

    @property
    def has_ended(self) -> bool:
        return self.state in (SUCCEEDED, FAILED)


def each_standings(jobs: Iterable[Job]) -> Iterator[tuple[Job, dict[str, Standing]]]:
    """Yield jobs with their standings; a SLURM that does not answer keeps nobody waiting twice."""
    problem = ""
    for job in jobs:
        found = standings(job, problem)
        unknown = [standing.text for standing in found.values() if standing.state == UNKNOWN]
        problem = unknown[0] if unknown else problem
        yield job, found


def standings(job: Job, problem: str = "") -> dict[str, Standing]:
    """Return the standing of each task of a job, by its id.

    The outcome that a task wrote comes first: SLURM forgets.

    Args:
        problem: why SLURM does not answer, where that is known: it is not asked.
    """
    outcomes = {task: records.outcome(job.folder, task) for task in job.task_ids}
    states = {}
    try:
        if None in outcomes.values() and not problem:
            states = scheduler.states(job.id)
    except CommandError as error:
        problem = str(error)
    by_task = {}
    for task, outcome in outcomes.items():
        if outcome is None:
            # It may have ended between the two queries.
            outcome = records.outcome(job.folder, task)
        if outcome is not None and outcome["error"] is None:
            by_task[task] = Standing(SUCCEEDED, _metrics(outcome["metrics"]))
        elif outcome is not None:
            by_task[task] = Standing(FAILED, outcome["error"])
        elif problem:
            by_task[task] = Standing(UNKNOWN, problem)
        else:
            by_task[task] = _standing(states.get(task), job, task)
    return by_task


def follow(job: Job) -> bool:
    """Print what a job prints until it has ended; return whether it succeeded.

    Raises:
        KeyboardInterrupt: it keeps running.
    """
    tails = {task: _Tail(job.log(task), task if job.tasks else "") for task in job.task_ids}
    shown: dict[str, Standing] = {}
    asked_at, is_reported = -float(ASK_SECONDS), False
    current: dict[str, Standing] = {}
    while True:
        for tail in tails.values():
            tail.print()
        if time.monotonic() - asked_at >= ASK_SECONDS:
            current, asked_at = standings(job), time.monotonic()
            for line in _news(shown, current):
                print(line, flush=True)
            shown = current
            if not is_reported and (task := _silent(job, current)):
                is_reported = True
                print(
                    f"job {task}: no sign of life for {SILENT_SECONDS} seconds: its node, or the"
                    f" network, may be down ({current[task].text}); SLURM reports it later",
                    flush=True,
                )
            if all(standing.has_ended for standing in current.values()):
                break
        time.sleep(LOOK_SECONDS)
    for tail in tails.values():
        tail.print()
    failed = [task for task, standing in current.items() if standing.state == FAILED]
    for task in failed:
        print(f"job {task} failed: {current[task].text}")
        print(f"its log ends with ({job.log(task)}):")
        for line in last_lines(job.log(task)):
            print(f"  {line}")
    return not failed


def last_lines(log: Path, count: int = LAST_LINES) -> list[str]:
    """Return the last lines of a log, or a line that says that there are none."""
    if not log.exists():
        return ["it printed nothing"]
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if line.strip()][-count:] or ["it printed nothing"]


class _Tail:
    """What is new in a log."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name, self._position = path, name, 0

    def print(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._position)
            content = file.read()
        if self._name:  # whole lines, each behind the name of its task
            content = content[: content.rfind(b"\n") + 1]
        self._position += len(content)
        text = content.decode("utf-8", errors="replace")
        if self._name:
            text = "".join(f"{self._name}: {line}" for line in text.splitlines(keepends=True))
        if text:
            print(text, end="", flush=True)


def _standing(state: State | None, job: Job, task: str) -> Standing:
    """Return the standing of a task that wrote no outcome."""
    if state is None:
        if time.time() - job.submitted < GONE_SECONDS:
            return Standing(WAITS, "SLURM has accepted it")
        return Standing(FAILED, "SLURM no longer knows it, and it left no result: it was killed")
    if state.is_waiting:
        again = f", restart {state.restarts}" if state.restarts else ""
        reason = REASONS.get(state.reason, state.reason or "it is in the queue")
        return Standing(WAITS, f"{reason}{again}")
    if state.is_running:
        return Standing(RUNS, f"on {state.nodes}" if state.nodes else state.name.lower())
    where = f" on {state.nodes}" if state.nodes else ""
    return Standing(FAILED, f"{_ended(state)}{where}")


def _ended(state: State) -> str:
    """Return how a job ended, as SLURM reports it."""
    code, _, signal = state.exit_code.partition(":")
    killed = int(signal or 0) or (int(code) - 128 if code.isdecimal() and int(code) > 128 else 0)
    texts = {
        "CANCELLED": "it was cancelled",
        "TIMEOUT": "it reached its time limit (resources.time)",
        "OUT_OF_MEMORY": "it ran out of memory (resources.memory)",
        "NODE_FAIL": "its node failed",
        "PREEMPTED": "it was preempted, and not requeued",
        "COMPLETED": "it ended without a result",
    }
    if killed and state.name == "FAILED":
        why = " (kill -9, or out of memory)" if killed == 9 else ""
        return f"it was killed by signal {killed}{why}"
    return texts.get(state.name, f"SLURM says {state.name}, exit code {state.exit_code}")


def _silent(job: Job, current: dict[str, Standing]) -> str:
    """Return a running task that no longer touches its file; "" where each does."""
    for task, standing in current.items():
        path = job.folder / f"{task}_{records.ALIVE}"
        touched = path.stat().st_mtime if path.exists() else time.time()
        if standing.state == RUNS and time.time() - touched > SILENT_SECONDS:
            return task
    return ""


def _news(shown: dict[str, Standing], current: dict[str, Standing]) -> Iterator[str]:
    """Yield a line for each waiting or running task whose standing has changed."""
    for task, standing in current.items():
        if not standing.has_ended and standing != shown.get(task):
            yield f"job {task} {standing.state}: {standing.text}"


def _metrics(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {metric_text(value)}" for name, value in metrics.items())
