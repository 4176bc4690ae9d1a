"""The commands behind `inv model.…`: python -m workflow.runs.promoting --help."""

import argparse
import json
from datetime import datetime

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import git
from ..deciding_metric import DecidingMetric
from ..errors import CommandError
from ..git import GitError
from ..paths import METRICS, PARAMS, home
from ..registry import aliases, promotion, versions
from ..registry.versions import Period, Version
from ..results import metric_text
from . import commits, finding
from .finding import RecordedRun


def main() -> int:
    arguments = vars(parser().parse_args())
    action = arguments.pop("action")
    try:
        if action == "promote":
            promote(**arguments)
        elif action == "demote":
            demote(**arguments)
        else:
            show()
    except (GitError, CommandError) as problem:
        raise SystemExit(f"model: {problem}") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted") from None
    return 0


def promote(run: str, stage: str) -> None:
    promotion.require_stage(stage)
    recorded = commits.with_model(run)
    done = promotion.promote(recorded.commit, str(recorded.model), stage)
    version = done.version
    already = "" if done.new else " already"
    print(
        f"{version} is in {stage}{already}: commit {version.commit[:12]}, {result(version.commit)}"
    )
    if not done.shared:
        print("its file is in this cache only: inv data.push")
    try:
        print(f"W&B: {aliases.add(*logged(recorded), stage, version.name)} is {stage}")
    except CommandError as problem:
        print(f"W&B was not updated: {problem}; inv wandb.sync, then the same command again")


def demote(stage: str) -> None:
    out, now = promotion.demote(stage)
    print(f"{out} is no longer in {stage}; {now or 'no version'} is")
    try:
        print(f"W&B: {aliases.remove(*logged(of(out)), stage)} is no longer {stage}")
        if now:
            print(f"W&B: {aliases.add(*logged(of(now)), stage, now.name)} is {stage}")
    except CommandError as problem:
        fix = f"inv model.promote {now} --stage {stage}" if now else f"it is {stage} there still"
        print(f"W&B was not updated: {problem}; {fix}")


def of(version: Version) -> RecordedRun:
    return finding.revision(version.commit, str(version), finding.REGISTERED)


def logged(run: RecordedRun) -> tuple[str | None, str]:
    """Return the W&B run that logged a model, where its file says so, and the model's DVC hash."""
    return run.provenance.get("run", {}).get("path"), str(run.model)


def show() -> None:
    if not (periods := versions.history()):
        print("no version was in any stage: inv model.promote RUN --stage production")
        return
    console = Console(highlight=False)
    console.width = max(console.width, 100)  # narrower, rich would leave columns out
    console.print(table(periods))


def table(periods: list[Period]) -> Table:
    """Draw which version was in which stage, in local time; what is there now, in bold."""
    drawn = Table(box=None, header_style="bold")
    for name in ("stage", "version", "test split", "from", "until", "by", "commit"):
        drawn.add_column(name, no_wrap=name != "by")
    for period in periods:
        name, commit = period.version.name, period.version.commit
        times = (moment(period.since), moment(period.until) if period.until else "now")
        cells = (period.stage, name, result(commit), *times, period.by, commit[:12])
        drawn.add_row(*map(Text, cells), style="" if period.until else "bold")
    return drawn


def result(commit: str) -> str:
    """Return the metric that decided when a commit was made; "no metric" where there is none.

    Before version 2.0.0 a config named none: all models were classifiers.
    """
    params, metrics = (
        git.text(home(), "show", f"{commit}:./{path.as_posix()}") for path in (PARAMS, METRICS)
    )
    metric = DecidingMetric.of(yaml.safe_load(params)) if params else None
    name = metric.name if metric else "accuracy"
    values = json.loads(metrics) if metrics else {}
    if metric is None and name not in values:
        return "no metric"
    return f"{name} {metric_text(values.get(name))}"


def moment(when: datetime) -> str:
    return f"{when.astimezone():%Y-%m-%d %H:%M}"


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="promoting", description=__doc__)
    actions = root.add_subparsers(dest="action", required=True)
    action = actions.add_parser("promote", help="put the model of a run into a stage")
    action.add_argument("run", help="see `inv --help restore`")
    action.add_argument("--stage", default=versions.PRODUCTION)
    action = actions.add_parser("demote", help="demote the version in a stage")
    action.add_argument("--stage", default=versions.PRODUCTION)
    actions.add_parser("history", help="show which version was in which stage when")
    return root


if __name__ == "__main__":
    raise SystemExit(main())
