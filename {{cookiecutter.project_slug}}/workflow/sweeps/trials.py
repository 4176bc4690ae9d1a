"""The trials of a sweep as tables and pages show them, and the best one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from ..errors import CommandError, enumerated
from ..results import metric_text
from .study import Sweep

WORDS = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
ORDER = list(WORDS.values())


@dataclass(frozen=True)
class Row:
    """One trial.

    Args:
        state: one of `ORDER`.
        value: the mean over its seeds; of a pruned one, the last that it reported.
        std: over its seeds; None with a single one.
        values: of each seed.
        params: the values that the sweep chose, by the key of the override.
        seconds: from its start to its end.
        error: why it failed, in one line.
        runs: the ids of its W&B runs, at most one of each seed.
    """

    number: int
    state: str
    value: float | None
    std: float | None
    values: list[float]
    params: dict[str, Any]
    seconds: float | None
    error: str | None
    runs: list[Mapping[str, Any]]

    @property
    def has_finished(self) -> bool:
        """Whether it has a value of its own: it was neither pruned, nor failed."""
        return self.state == WORDS[TrialState.COMPLETE]

    @property
    def value_text(self) -> str:
        """The value, and its standard deviation where there are several seeds."""
        return value_text(self.value, self.std)


def rows(sweep: Sweep) -> list[Row]:
    """Return all trials: those that finished first, the best at the top."""
    sign = 1 if sweep.plan.mode == "min" else -1
    return sorted(
        (row(trial) for trial in sweep.trials),
        key=lambda one: (
            ORDER.index(one.state),
            sign * one.value if one.value is not None else 0,
            one.number,
        ),
    )


def count(all_rows: Sequence[Row]) -> dict[str, int]:
    """Return how many trials there are in each state that occurs."""
    counts = {state: sum(row.state == state for row in all_rows) for state in ORDER}
    return {state: number for state, number in counts.items() if number}


def require_one_objective(sweep: Sweep) -> None:
    """Raise CommandError for a study of several objectives: none of its trials is the best."""
    if (number := len(sweep.study.directions)) > 1:
        raise CommandError(
            f"{sweep.plan.name} is a study of {number} objectives, which has no best trial:"
            f" inv sweep.dashboard --name {sweep.plan.name} shows it"
        )


def best_trial(sweep: Sweep) -> FrozenTrial | None:
    """Return the finished trial with the best value; None where none has finished."""
    finished = [trial for trial in sweep.trials if trial.state == TrialState.COMPLETE]
    better = min if sweep.plan.mode == "min" else max
    return better(finished, key=lambda trial: trial.value or 0.0, default=None)


def best(sweep: Sweep) -> FrozenTrial:
    """Return the trial with the best value.

    Raises:
        CommandError: none has finished, or there are several objectives.
    """
    require_one_objective(sweep)
    if trial := best_trial(sweep):
        return trial
    counts = count(rows(sweep))
    states = ", ".join(f"{number} {state}" for state, number in counts.items())
    name = sweep.plan.name
    follows = f"inv sweep --name {name} continues it"
    if set(counts) <= {"pruned", "failed"}:
        follows = f"inv sweep.show --name {name} says why"
    raise CommandError(f"no trial of {name} has finished ({states}): {follows}")


def failures(all_rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return which trials failed, such as "trials 0, 3", and the reason that they share."""
    reasons = dict.fromkeys(row.error for row in all_rows if row.error)
    texts = []
    for reason in filter(None, reasons):
        numbers = [str(row.number) for row in all_rows if row.error == reason]
        texts.append((f"trial{'s' if len(numbers) > 1 else ''} {enumerated(numbers)}", reason))
    return texts


def param_text(value: Any) -> str:
    """Return a parameter as tables show it: four digits of a number."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def value_text(value: float | None, std: float | None) -> str:
    return metric_text(value) + (f" ± {metric_text(std)}" if std is not None else "")


def duration_text(seconds: float | None) -> str:
    """Return a duration as tables show it: 8.2 s, 3:05 min, 1:02 h."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    return f"{minutes // 60}:{minutes % 60:02} h"


def row(trial: FrozenTrial) -> Row:
    values = list(trial.user_attrs.get("values", ()))
    duration = trial.duration
    return Row(
        number=trial.number,
        state=WORDS[trial.state],
        value=trial.values[0] if trial.values else None,
        std=trial.user_attrs.get("std"),
        values=values,
        params=trial.params,
        seconds=duration.total_seconds() if duration else None,
        error=trial.user_attrs.get("error"),
        runs=[run for run in trial.user_attrs.get("run", ()) if run],
    )
