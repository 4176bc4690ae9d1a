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
from ..dvc_store import recorded
from ..dvc_store.opening import open_revision
from ..errors import CommandError
from ..git import GitError
from ..paths import METRICS, PARAMS, home
from ..registry import aliases, promotion, reconciling, sharing, versions
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
        elif action == "reconcile":
            reconcile()
        else:
            show(**arguments)
    except (GitError, CommandError) as problem:
        raise SystemExit(f"model: {problem}") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted") from None
    return 0


def promote(run: str, stage: str, offline: bool, push: bool) -> None:
    promotion.require_stage(stage)
    update(offline)
    recorded = commits.with_model(run)
    require_own_results(recorded.commit)
    promoted = promotion.promote(recorded.commit, str(recorded.model), stage)
    version = promoted.version
    already = "" if promoted.new else " already"
    print(
        f"{version} is in {stage}{already}: commit {version.commit[:12]}, {result(version.commit)}"
    )
    if not promoted.shared:
        print("its file is in this cache only: inv data.push")
    try:
        print(f"W&B: {aliases.add(*logged(recorded), stage, version.name)} is {stage}")
    except CommandError as problem:
        print(f"W&B was not updated: {problem}; inv wandb.sync, then the same command again")
    if push:
        share()


def update(offline: bool) -> None:
    """Ask the remote, where there is one, what others promoted.

    Raises:
        CommandError: it does not answer, or what was promoted here clashes with it.
    """
    if offline or not (remote := sharing.remote()):
        return
    try:
        sharing.update(remote)
    except sharing.NoAnswerError as problem:
        raise CommandError(f"{problem}; without it: the same command with --offline") from None


def require_own_results(commit: str) -> None:
    """Raise CommandError where a commit has results of other code or config, as after a merge."""
    with open_revision(commit) as repo:
        stale = recorded.stale(repo)
    if stale:
        raise CommandError(
            f"commit {commit[:12]} has the results of other code or config:"
            f" {recorded.text(stale)}: inv train, commit, and promote that commit"
        )


def share() -> None:
    """Send the tags to the remote; where another one was faster, give these the next numbers.

    Raises:
        CommandError: there is no remote, or it does not take them.
    """
    if not (remote := sharing.remote()):
        raise CommandError("there is no remote to push to: git remote add origin ADDRESS")
    try:
        names = sharing.push(remote)
    except (sharing.NoAnswerError, sharing.ClashError):
        if not sharing.clashes(sharing.here(), sharing.there(remote)):
            raise
        reconcile()
        names = sharing.push(remote)
    print(f"to {remote}: {', '.join(names) or 'nothing, it has all tags'}")


def reconcile() -> None:
    """Give what clashes with the remote the next numbers, and say what is where then.

    Raises:
        CommandError: there is no remote, or it does not answer.
    """
    if not (remote := sharing.remote()):
        raise CommandError("there is no remote to reconcile with: git remote add origin ADDRESS")
    own = sharing.here()
    names = reconciling.reconcile(remote)
    if not names:
        print(f"nothing clashes with {remote}")
    now = sharing.here()
    for old, new in names.items():
        theirs = f"{old} is commit {now[old].commit[:12]}, as in {remote}; " if old in now else ""
        what = f"is {new} now" if new else "is there, too"
        print(f"{theirs}that of commit {own[old].commit[:12]} {what}")
    for period in versions.history():
        if not period.until:
            print(f"{period.version} is in {period.stage}: {result(period.version.commit)}")
    for name in reconciling.renamed_versions(names).values():
        version = next(v for v in versions.registered() if v.name == name)
        try:
            print(f"W&B: {aliases.add(*logged(of(version)), name)} is {name}")
        except CommandError as problem:
            print(f"W&B was not updated: {problem}")


def demote(stage: str, offline: bool, push: bool) -> None:
    update(offline)
    out, now = promotion.demote(stage)
    print(f"{out} is no longer in {stage}; {now or 'no version'} is")
    try:
        print(f"W&B: {aliases.remove(*logged(of(out)), stage)} is no longer {stage}")
        if now:
            print(f"W&B: {aliases.add(*logged(of(now)), stage, now.name)} is {stage}")
    except CommandError as problem:
        fix = f"inv model.promote {now} --stage {stage}" if now else f"it is {stage} there still"
        print(f"W&B was not updated: {problem}; {fix}")
    if push:
        share()


def of(version: Version) -> RecordedRun:
    return finding.revision(version.commit, str(version), finding.REGISTERED)


def logged(run: RecordedRun) -> tuple[str | None, str]:
    """Return the W&B run that logged a model, where its file says so, and the model's DVC hash."""
    return run.provenance.get("run", {}).get("path"), str(run.model)


def show(offline: bool) -> None:
    if periods := versions.history():
        console = Console(highlight=False)
        console.width = max(console.width, 100)  # narrower, rich would leave columns out
        console.print(table(periods))
    else:
        print("no version was in any stage: inv model.promote RUN --stage production")
    if not offline and (remote := sharing.remote()):
        for line in compared(remote):
            print(line)


def compared(remote: str) -> list[str]:
    """Return what the remote says otherwise than the tags here."""
    own = sharing.here()
    try:
        others = sharing.there(remote)
    except CommandError as problem:
        return [f"not compared: {problem}"]
    lines = [f"{clash}, in {remote}" for clash in sharing.clashes(own, others)]
    if lines:
        return [*lines, "to have both: inv model.reconcile"]
    if lacking := [name for name in others if name not in own]:
        lines.append(f"in {remote} and not here: {', '.join(lacking)}: inv model.reconcile")
    if unshared := [name for name in own if name not in others]:
        lines.append(f"not in {remote}: {', '.join(unshared)}: git push --tags")
    return lines


def table(periods: list[Period]) -> Table:
    """Draw which version was in which stage, in local time; what is there now, in bold."""
    grid = Table(box=None, header_style="bold")
    for name in ("stage", "version", "test split", "from", "until", "by", "commit"):
        grid.add_column(name, no_wrap=name != "by")
    for period in periods:
        name, commit = period.version.name, period.version.commit
        times = (moment(period.since), moment(period.until) if period.until else "now")
        cells = (period.stage, name, result(commit), *times, period.by, commit[:12])
        grid.add_row(*map(Text, cells), style="" if period.until else "bold")
    return grid


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
    demote = actions.add_parser("demote", help="demote the version in a stage")
    history = actions.add_parser("history", help="show which version was in which stage when")
    for changing in (action, demote):
        changing.add_argument("--stage", default=versions.PRODUCTION)
        changing.add_argument("--push", action="store_true", help="send the tags to Git's remote")
    for asking in (action, demote, history):
        asking.add_argument("--offline", action="store_true", help="without asking Git's remote")
    actions.add_parser("reconcile", help="give what clashes with the remote the next numbers")
    return root


if __name__ == "__main__":
    raise SystemExit(main())
