"""Running a sweep on this machine: workers, each a process, and a line for each trial that ends."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from optuna.trial import FrozenTrial, TrialState

from ..errors import CommandError, failure, shortened
from ..paths import ROOT
from .study import Sweep
from .trials import WORDS, best_trial, count, param_text, row
from .worker import INTERRUPTED, REFUSED

LOOK_SECONDS = 0.2
DEATHS = 5  # of workers while no trial ends: then something else is wrong


@dataclass
class Driver:
    """Keeps workers alive until no trial is left.

    Args:
        jobs: how many trials at a time.
        gpus: of which each training gets one.
        fail_after: how many trials may fail before no other is taken; None: any number.
    """

    sweep: Sweep
    jobs: int
    gpus: list[str]
    fail_after: int | None = None

    def run(self) -> None:
        """Run the sweep to its end, or to its limit of failures.

        Raises:
            CommandError: the workers cannot go on.
            KeyboardInterrupt: it was interrupted; the trainings have ended.
        """
        ended = {trial.number for trial in self.sweep.trials if trial.state.is_finished()}
        limit = None if self.fail_after is None else self.sweep.failed + self.fail_after
        self._limit = limit
        workers = {slot: self._start(slot) for slot in range(self.jobs)}
        deaths = 0
        try:
            while workers:
                time.sleep(LOOK_SECONDS)
                new = [*self._new(ended)]
                for line in new:
                    print(line, flush=True)
                deaths = 0 if new else deaths
                for slot, (process, _) in list(workers.items()):
                    if process.poll() is None:
                        continue
                    self._close(workers.pop(slot))
                    if process.returncode == 0:
                        continue
                    if process.returncode == INTERRUPTED:
                        raise KeyboardInterrupt
                    deaths += 1
                    if process.returncode == REFUSED or deaths == DEATHS:
                        raise CommandError(shortened(failure(self._log(slot))))
                    workers[slot] = self._start(slot)
        except KeyboardInterrupt:  # the workers got the same Ctrl-C
            for process, _ in workers.values():
                process.wait()
            raise
        finally:
            for worker in workers.values():
                self._close(worker)
        for line in self._new(ended):
            print(line, flush=True)

    def _start(self, slot: int) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        command = [sys.executable, "-m", "workflow.sweeps.worker", "--sweep", self.sweep.plan.name]
        command += ["--slot", str(slot), "--driver", str(os.getpid())]
        command += ["--gpus", ",".join(self.gpus)] if self.gpus else []
        command += ["--failures", str(self._limit)] if self._limit is not None else []
        log = self._log(slot).open("ab")
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        return process, log

    @staticmethod
    def _close(worker: tuple[subprocess.Popen[bytes], IO[bytes]]) -> None:
        worker[1].close()

    def _log(self, slot: int) -> Path:
        return self.sweep.folder / f"worker-{slot}.log"

    def _new(self, ended: set[int]) -> Iterator[str]:
        """Yield a line for each trial that has ended and has none so far."""
        trials = self.sweep.trials
        for trial in trials:
            if trial.state.is_finished() and trial.number not in ended:
                ended.add(trial.number)
                yield f"{_line(trial)}   {_progress(trials)}"


def outcome(sweep: Sweep) -> Iterator[str]:
    """Yield what came out of a sweep, and what follows."""
    plan, trials = sweep.plan, sweep.trials
    counts = count([row(trial) for trial in trials])
    shown = ", ".join(f"{number} {state}" for state, number in counts.items())
    yield f"sweep {plan.name}: {len(trials)} trials: {shown}"
    for trial in [trial for trial in trials if trial.state == TrialState.FAIL][:3]:
        yield f"trial {trial.number} failed: {trial.user_attrs.get('error', 'no reason known')}"
    best = best_trial(sweep)
    if best:
        yield f"best: trial {best.number}, {plan.metric} {row(best).value_text}: {_params(best)}"
    if sweep.unfinished:
        yield f"next: inv sweep --name {plan.name}, which continues it"
    elif best:
        yield f"next: inv sweep.show --name {plan.name}, inv sweep.apply --name {plan.name}"
    else:
        yield f"next: inv sweep.show --name {plan.name}"


def _line(trial: FrozenTrial) -> str:
    came_out = WORDS[trial.state]
    if trial.state == TrialState.COMPLETE:
        came_out = row(trial).value_text
    elif trial.state == TrialState.PRUNED and trial.intermediate_values:
        came_out = f"pruned after epoch {max(trial.intermediate_values) + 1}"
    elif trial.state == TrialState.FAIL:
        came_out = f"failed: {trial.user_attrs.get('error', '')}"
    return f"trial {trial.number}: {came_out}   {_params(trial)}"


def _progress(trials: list[FrozenTrial]) -> str:
    done = sum(trial.state.is_finished() for trial in trials)
    running = [str(trial.number) for trial in trials if trial.state == TrialState.RUNNING]
    following = f", running: {', '.join(running)}" if running else ""
    return f"[{done}/{len(trials)}{following}]"


def _params(trial: FrozenTrial) -> str:
    """Return the values of a trial as a line has them; overrides.json has them exactly."""
    return " ".join(f"{key}={param_text(value)}" for key, value in trial.params.items())
