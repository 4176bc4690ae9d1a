"""A sweep as one page that opens anywhere: reports/sweeps/NAME.html.

The page loads nothing, from the network or beside it. The same study gives the same page.
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import files
from ..paths import REPORTS
from ..report.page import project_name, render
from ..results import metric_text
from . import trials
from .plan import SWEEPS
from .plots import charts
from .space import described
from .study import Sweep
from .trials import Row

FOLDER = REPORTS / "sweeps"
TEMPLATE = Path(__file__).parent / "templates" / "sweep.html.jinja"


def write(sweep: Sweep, root: Path = Path()) -> Path:
    """Write the page of a sweep, and return where it is.

    Raises:
        CommandError: it is a study of several objectives.
    """
    trials.require_one_objective(sweep)
    path = root / FOLDER / f"{sweep.plan.name}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, render(collect(sweep, root), TEMPLATE))
    return path


def collect(sweep: Sweep, root: Path) -> dict[str, Any]:
    """Return what the template shows."""
    plan = sweep.plan
    rows = trials.rows(sweep)
    winner = rows[0] if rows and rows[0].has_finished else None
    ends = [trial.datetime_complete for trial in sweep.trials]
    return {
        "project": project_name(root),
        "sweep": sweep,
        "when": max(filter(None, ends), default=None),
        "plan": plan,
        "folder": (SWEEPS / sweep.plan.name).as_posix(),
        "rows": rows,
        "names": list(dict.fromkeys(name for row in rows for name in row.params)),
        "winner": winner,
        "overrides": shlex.join(plan.overrides(winner.params)) if winner else "",
        "figures": figures(sweep, rows),
        "failures": trials.failures(rows),
        "charts": charts(sweep.study, plan.metric),
        "facts": facts(sweep),
        "duration": trials.duration_text,
        "shown": trials.param_text,
    }


def figures(sweep: Sweep, rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Return the numbers at the top: a name, a value and a note each."""
    counts = trials.count(rows)
    ended = sum(counts.get(state, 0) for state in ("finished", "pruned", "failed"))
    shown = [
        (
            "trials",
            f"{ended} of {sweep.plan.trials}",
            ", ".join(f"{number} {state}" for state, number in counts.items()),
        )
    ]
    if rows and rows[0].has_finished:
        best = rows[0]
        spread = f"± {metric_text(best.std)} over {len(best.values)} seeds, "
        note = (spread if best.std is not None else "") + f"trial {best.number}"
        shown.insert(0, (f"best {sweep.plan.metric}", metric_text(best.value), note))
    seconds = [row.seconds for row in rows if row.seconds is not None]
    if seconds:
        note = f"{trials.duration_text(sum(seconds) / len(seconds))} a trial"
        shown.append(("time of all trials", trials.duration_text(sum(seconds)), note))
    return shown


def facts(sweep: Sweep) -> dict[str, list[str]]:
    """Return how the sweep was asked for, by what it is called."""
    plan = sweep.plan
    return {
        "Space": [*described(plan.distributions)],
        "Overrides of all trials": [*plan.fixed] or ["none"],
        "Seeds": [", ".join(map(str, plan.seeds))],
        "Sampler": ["grid" if plan.grid else target(plan.sampler, "TPESampler")],
        "Pruner": [target(plan.pruner, "none")],
    }


def target(node: Mapping[str, Any] | None, default: str) -> str:
    """Return the class that a node of the search names, with its arguments."""
    if node is None:
        return default
    arguments = [f"{name}={value}" for name, value in node.items() if name != "_target_"]
    return f"{node['_target_'].rpartition('.')[2]}({', '.join(arguments)})"
