"""A worker of a sweep: takes one trial after the other, until none is left.

    python -m workflow.sweeps.worker --sweep NAME --slot K

Any number of workers runs at a time, on one machine or on several that share the sweep's folder.
A trial is taken under the lock TRIAL/lock, which its training holds, too. A trial in state RUNNING
whose lock is free was left by a process that was killed: it is taken over and resumed.
"""

import argparse
import contextlib
import json
import math
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from .. import files
from ..config.values import ConfigError
from ..errors import CommandError
from ..trial import Exchange
from . import optimizing, study
from .locks import Lock
from .study import Sweep
from .training import Training, TrainingError

WAIT_SECONDS = 0.3
REFUSED = 2  # exit code: the worker said why, and another one would say the same
INTERRUPTED = 130  # exit code, as a shell has it after Ctrl-C


@dataclass
class Worker:
    """Takes the trials of a sweep.

    Args:
        slot: a number that says which of the workers it is.
        gpus: of which each training gets one; empty: it sees what this process sees.
        driver: the process id of its starter: when that is gone, it ends after its trial, else it
            waits for trials that others may leave; None: it ends when no trial is free.
        failures: how many failed trials of the study end it; None: none do.
    """

    sweep: Sweep
    slot: int = 0
    gpus: list[str] = field(default_factory=list)
    driver: int | None = None
    failures: int | None = None

    def run(self) -> None:
        """Take trials until none is left.

        Raises:
            CommandError: code or data have changed since the sweep began.
            KeyboardInterrupt: a training was interrupted.
        """
        while self._is_wanted():
            self.sweep.plan.require_inputs()
            with self._taken() as taken:
                if taken:
                    self._run(*taken)
                    continue
            if self.driver is None or not self.sweep.unfinished:
                return
            time.sleep(WAIT_SECONDS)  # another process may still leave its trial

    def _is_wanted(self) -> bool:
        if self.driver is not None and os.getppid() != self.driver:
            return False
        return self.failures is None or self.sweep.failed < self.failures

    @contextlib.contextmanager
    def _taken(self) -> Iterator[tuple[Trial, Lock] | None]:
        """Take the first trial that nobody has."""
        for candidate in self.sweep.unfinished:
            lock = Lock(self.sweep.trial_folder(candidate.number) / "lock")
            if not lock.take():
                continue
            try:
                if trial := self._start(candidate):
                    yield trial, lock
                    return
            finally:
                lock.release()
        yield None

    def _start(self, candidate: FrozenTrial) -> Trial | None:
        """Return a trial as one to run; None where another process has just finished it."""
        optuna_study = self.sweep.study
        storage = optuna_study._storage
        state = storage.get_trial(candidate._trial_id).state
        if state.is_finished():
            return None
        if state == TrialState.WAITING:
            storage.set_trial_state_values(candidate._trial_id, state=TrialState.RUNNING)
        plan = self.sweep.plan
        optuna_study.sampler = optimizing.sampler(plan.sampler, plan.seeds[0] + candidate.number)
        optuna_study.pruner = optimizing.pruner(plan.pruner)
        return Trial(optuna_study, candidate._trial_id)

    def _run(self, trial: Trial, lock: Lock) -> None:
        """Run a trial, and tell the study what came out."""
        plan, folder = self.sweep.plan, self.sweep.trial_folder(trial.number)
        params = {key: trial._suggest(key, value) for key, value in plan.distributions.items()}
        overrides = plan.overrides(params)
        files.replace(folder / "overrides.json", json.dumps(overrides, indent=2) + "\n")
        trial.set_user_attr("folder", str(folder.relative_to(self.sweep.folder.parent.parent)))
        trial.set_user_attr("slot", self.slot)
        values: list[float] = []
        runs: list[dict[str, Any] | None] = []
        for index, seed in enumerate(plan.seeds):
            exchange = Exchange(folder / f"seed-{seed}")
            with self._gpu() as gpu:
                training = Training(
                    plan,
                    exchange.folder,
                    [*overrides, f"seed={seed}"],
                    [lock, *([gpu[0]] if gpu else [])],
                    self._variables(trial.number, seed, gpu[1] if gpu else None),
                )
                try:
                    result = training.run(_Relay(trial) if index == 0 else _ignore)
                    if not result.pruned and not math.isfinite(result.value or 0):
                        raise TrainingError(f"{plan.metric} is {result.value}")
                except TrainingError as error:
                    trial.set_user_attr("run", [*runs, exchange.run])
                    trial.set_user_attr("error", f"seed {seed}: {error}" if index else str(error))
                    self.sweep.study.tell(trial.number, state=TrialState.FAIL)
                    return
            runs.append(exchange.run)
            if result.pruned:
                trial.set_user_attr("run", runs)
                self.sweep.study.tell(trial.number, state=TrialState.PRUNED)
                return
            assert result.value is not None
            values.append(result.value)
        for key, value in (
            ("run", runs),
            ("values", values),
            ("std", statistics.stdev(values) if values[1:] else None),
        ):
            trial.set_user_attr(key, value)
        self.sweep.study.tell(trial.number, statistics.fmean(values))

    def _variables(self, number: int, seed: int, gpu: str | None) -> dict[str, str]:
        """Return variables of a training: a W&B run of its own, in the group of the sweep."""
        name = f"{self.sweep.plan.name}-{number}"
        if self.sweep.plan.seeds[1:]:
            name += f"-seed-{seed}"
        variables = {"WANDB_RUN_GROUP": self.sweep.plan.name, "WANDB_NAME": name}
        return variables | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu is not None else {})

    @contextlib.contextmanager
    def _gpu(self) -> Iterator[tuple[Lock, str] | None]:
        """Take a GPU that no other trial has, of this sweep or another one."""
        if not self.gpus:
            yield None
            return
        locks = [(Lock(self.sweep.folder.parent / f"gpu-{gpu}.lock"), gpu) for gpu in self.gpus]
        while not (taken := next((pair for pair in locks if pair[0].take()), None)):
            time.sleep(WAIT_SECONDS)
        try:
            yield taken
        finally:
            taken[0].release()


class _Relay:
    """Reports to the study what a training reports, and has the training stop if it is pruned."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._reported: set[int] = set()

    def __call__(self, exchange: Exchange) -> None:
        new = [row for row in exchange.reports if row[0] not in self._reported]
        for epoch, value in new:
            if epoch not in self._reported and math.isfinite(value):
                self._reported.add(epoch)
                self._trial.report(value, epoch)
        if new and not exchange.is_pruned and self._trial.should_prune():
            exchange.prune()


def _ignore(exchange: Exchange) -> None:
    """The first seed alone decides whether a trial is pruned."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Take trials of a sweep until none is left.")
    parser.add_argument("--sweep", required=True, help="its name")
    parser.add_argument("--slot", type=int, default=0, help="which of the workers this is")
    parser.add_argument("--gpus", default="", help="of which each trial gets one: 0,1")
    parser.add_argument("--driver", type=int, help="process id of the starter, to end with it")
    parser.add_argument("--failures", type=int, help="failed trials in all, that end it")
    options = parser.parse_args()
    optimizing.quiet()
    gpus = [gpu for gpu in options.gpus.split(",") if gpu]
    try:
        sweep = study.open(options.sweep)
        Worker(sweep, options.slot, gpus, options.driver, options.failures).run()
    except (CommandError, ConfigError) as error:
        print(error, flush=True)
        raise SystemExit(REFUSED) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
