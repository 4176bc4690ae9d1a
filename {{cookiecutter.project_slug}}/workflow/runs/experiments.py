"""The experiments side by side: how they differ, and their metrics.

`python -m workflow.runs.experiments --all-commits 10` shows those of the last ten commits.
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import conflicts, git
from ..deciding_metric import DecidingMetric
from ..dotted import flatten
from ..dvc_store import command
from ..errors import CommandError, failure
from ..git import GitError
from ..paths import METRICS, TRAIN_METRICS
from ..results import metric_text, numbers

# Where metrics are read from; of two with one name, that of the first file counts.
METRICS_FILES = (METRICS, TRAIN_METRICS)
NONE = "-"
NOTHING = (
    "nothing to compare on this commit: try a value (inv train -- seed=1)"
    " or show earlier commits (inv compare --commits 10)"
)
NEXT = "next: inv exp.apply NAME, inv report"
NOT_COMMITTED = (
    "nothing to compare: the only result is in no commit, and an experiment would replace it;"
    " commit it (git add --all && git commit), then try a value (inv train -- seed=1)"
)


@dataclass(frozen=True)
class Row:
    """The workspace, a commit or an experiment.

    Args:
        kind: "workspace", "commit" or "experiment".
        name: of the branch, tag or experiment, or a commit's short hash.
        state: "success", "queued", "running" or "failed".
        params: by dotted name; a list is one value.
        metrics: scalars only; none unless `state` is "success".
        error: why it failed, or why DVC could not read it.
    """

    kind: str
    name: str
    revision: str
    when: datetime | None
    state: str
    params: dict[str, Any]
    metrics: dict[str, float]
    error: str | None = None


def read(root: Path = Path(), commits: int = 1) -> list[Row]:
    """Return the workspace and the last commits, each commit followed by its experiments.

    Raises:
        CommandError: no DVC project, no commit, or a file in conflict after a merge; the message
            is one line.
        GitError: there is a repository, and Git does not open it.
    """
    git.require(root)
    conflicts.require_settled(root)
    baselines = command.ask("exp", "show", f"--num={commits}", folder=root)
    if not baselines:
        raise CommandError("no commit yet: git add --all && git commit -m 'Start'")
    return [row for baseline in baselines for row in _rows(baseline)]


def comparable(rows: Sequence[Row]) -> list[Row]:
    """Leave out rows that hold nothing, and the workspace where another row says the same."""
    same = current(rows)
    return [
        row
        for row in rows
        if (row.params or row.metrics or row.error)
        and (row.kind != "workspace" or same is None or row is same)
    ]


def current(rows: Sequence[Row]) -> Row | None:
    """Return the commit or experiment that lies in the workspace, or the workspace's own row."""
    workspace = next((row for row in rows if row.kind == "workspace"), None)
    if workspace is None or not workspace.metrics:
        return workspace
    # A commit comes before its experiments: one that was committed is known by the commit.
    for row in rows:
        same = row.params == workspace.params and row.metrics == workspace.metrics
        if row is not workspace and same:
            return row
    return workspace


def differing(rows: Iterable[Row], always: Iterable[str] = ()) -> list[str]:
    """Return the names of the parameters that differ between the rows, and those in `always`.

    A parameter that a row does not have differs from one that it has. Rows without any parameter
    (commits from before the first run) are not looked at.
    """
    configs = [row.params for row in rows if row.params]
    names = dict.fromkeys(name for params in configs for name in params)
    included = set(always)
    return [
        name
        for name in names
        if name in included or len({_json(params, name) for params in configs}) > 1
    ]


def metric_names(rows: Iterable[Row]) -> list[str]:
    """Return the names of the metrics that any of the rows has."""
    return list(dict.fromkeys(name for row in rows for name in row.metrics))


def deciding_metric(rows: Sequence[Row]) -> DecidingMetric | None:
    """Return the metric that the current config names; None in one from before it named any."""
    here = current(rows)
    params = here.params if here else {}
    name, mode = params.get("metric.name"), params.get("metric.mode")
    return DecidingMetric(name, mode) if name and mode else None


def best(rows: Iterable[Row], metric: DecidingMetric | None) -> float | None:
    """Return the best value of the metric that decides, or None where no row has one."""
    if metric is None:
        return None
    return metric.best(row.metrics[metric.name] for row in rows if metric.name in row.metrics)


def is_best(row: Row, name: str, metric: DecidingMetric | None, top: float | None) -> bool:
    """Whether a row's metric of this name is the one that decides, and the best."""
    return metric is not None and name == metric.name and top == row.metrics.get(name) is not None


def param_label(name: str) -> str:
    """Return `model` for `model._target_`, which says what the node is."""
    return name.removesuffix("._target_")


def param_text(params: dict[str, Any], name: str) -> str:
    """Return a parameter as it is typed in an override; of a `_target_`, the class alone."""
    if name not in params:
        return NONE
    value = params[name]
    if isinstance(value, str):
        return value.rpartition(".")[2] if name.endswith("_target_") else value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def table(rows: Sequence[Row]) -> Table:
    """Draw the comparable rows; each says in which parameters it differs from the first."""
    here, metric = current(rows), deciding_metric(rows)
    rows = comparable(rows)
    top = best(rows, metric)
    params, metrics = differing(rows), metric_names(rows)
    star = f"* best {metric.name}   " if metric and metric.name in metrics else ""
    grid = Table(
        box=None,
        header_style="bold",
        caption=f"> in the folder now   {star}{NONE} none",
        caption_justify="left",
    )
    grid.add_column("  experiment", no_wrap=True)
    grid.add_column("what differed", overflow="fold")
    for name in metrics:
        grid.add_column(name.replace("/", "/\n"), justify="right", no_wrap=True)
    first = next((row.params for row in rows if row.params), {})
    for row in rows:
        cells = [_title(row, here), "\n".join(_changed(row.params, first, params))]
        for name in metrics:
            text = metric_text(row.metrics.get(name))
            if metric and name == metric.name:
                text += "*" if is_best(row, name, metric, top) else " "
            cells.append(text)
        # As Text: a list such as [64,32] is a style to rich.
        grid.add_row(*map(Text, cells), style="bold" if row is here else "")
    return grid


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Show the experiments side by side.")
    parser.add_argument(
        "--all-commits",
        type=int,
        default=1,
        metavar="N",
        help="those of the last N commits (default: the last one)",
    )
    commits = parser.parse_args(arguments).all_commits
    try:
        rows = read(commits=commits)
    except (CommandError, GitError) as error:
        raise SystemExit(f"compare: {error}") from None

    console = Console(highlight=False)
    compared = comparable(rows)
    if len(compared) > 1:
        console.width = max(console.width, 100)  # narrower, rich would leave columns out
        console.print(table(rows))
    else:
        here = current(rows)
        only_here = here is not None and here.kind == "workspace" and here.metrics
        print(NOT_COMMITTED if only_here else NOTHING)
    for row in compared:
        if row.error:
            logs = f"; its output: dvc queue logs {row.name}" if row.state == "failed" else ""
            console.print(Text(f"{row.name}: {row.error}{logs}", style="red"))
    if len(compared) > 1:
        print(NEXT)


def _title(row: Row, here: Row | None) -> str:
    indent = "  " if row.kind == "experiment" else ""
    state = "" if row.state == "success" else f" ({row.state})"
    return f"{'>' if row is here else ' '} {indent}{row.name}{state}"


def _changed(params: dict[str, Any], first: dict[str, Any], names: list[str]) -> Iterator[str]:
    for name in names:
        changed = params is first or _json(params, name) != _json(first, name)
        if name in params and changed:
            yield f"{param_label(name)}={param_text(params, name)}"


def _json(params: dict[str, Any], name: str) -> str | None:
    """Return a value that compares: as JSON, 1 is not true, and null is not a missing value."""
    return json.dumps(params[name]) if name in params else None


def _rows(baseline: dict[str, Any]) -> Iterator[Row]:
    kind = "workspace" if baseline["rev"] == "workspace" else "commit"
    yield _row(kind, baseline, "success")
    for experiment in baseline["experiments"] or []:
        executor = experiment["executor"] or {}
        state = executor.get("state") or "success"
        log = (executor.get("local") or {}).get("log")
        # An experiment has several revisions only if an older DVC wrote them; the first is last.
        yield _row("experiment", experiment["revs"][0], state, log)


def _row(kind: str, entry: dict[str, Any], state: str, log: str | None = None) -> Row:
    data = entry["data"] or {}
    params: dict[str, Any] = {}
    for file in data.get("params", {}).values():
        params |= flatten(file.get("data") or {})
    metrics: dict[str, float] = {}
    # DVC shows one that failed with the metrics that were there when it was queued.
    if state == "success":
        for path in METRICS_FILES:
            file = data.get("metrics", {}).get(path.as_posix(), {})
            metrics = {**metrics, **numbers(file.get("data") or {}), **metrics}
    when = data.get("timestamp")
    error = entry["error"] or {}
    reason = error.get("msg") or error.get("type") or None
    if state == "failed":  # DVC says only that
        reason = failure(Path(log) if log else None)
    return Row(
        kind=kind,
        name=entry["name"] or (kind if kind == "workspace" else entry["rev"][:7]),
        revision=entry["rev"],
        when=datetime.fromisoformat(when) if when else None,
        state=state,
        params=params,
        metrics=metrics,
        error=reason,
    )


if __name__ == "__main__":
    main()
