"""What a sweep prints: a line for each trial that ends, and the outcome at its end."""

from collections.abc import Iterator

from optuna.trial import FrozenTrial, TrialState

from .study import Sweep
from .trials import WORDS, best_trial, count, param_text, row


class Progress:
    """Prints a line for each trial that ends from now on."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._ended = {trial.number for trial in sweep.trials if trial.state.is_finished()}

    def show(self) -> bool:
        """Print the lines that are new; return whether there are any."""
        trials = self._sweep.trials
        new = [
            trial
            for trial in trials
            if trial.state.is_finished() and trial.number not in self._ended
        ]
        for trial in new:
            print(f"{_line(trial)}   {_progress(trials)}", flush=True)
        self._ended |= {trial.number for trial in new}
        return bool(new)


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
    result = WORDS[trial.state]
    if trial.state == TrialState.COMPLETE:
        result = row(trial).value_text
    elif trial.state == TrialState.PRUNED and trial.intermediate_values:
        result = f"pruned after epoch {max(trial.intermediate_values) + 1}"
    elif trial.state == TrialState.FAIL:
        result = f"failed: {trial.user_attrs.get('error', '')}"
    return f"trial {trial.number}: {result}   {_params(trial)}"


def _progress(trials: list[FrozenTrial]) -> str:
    done = sum(trial.state.is_finished() for trial in trials)
    running = [str(trial.number) for trial in trials if trial.state == TrialState.RUNNING]
    suffix = f", running: {', '.join(running)}" if running else ""
    return f"[{done}/{len(trials)}{suffix}]"


def _params(trial: FrozenTrial) -> str:
    """Return the values of a trial as a line has them; overrides.json has them exactly."""
    return " ".join(f"{key}={param_text(value)}" for key, value in trial.params.items())
