"""The commands behind `inv train -- cluster=…` and `inv cluster.…`: python -m workflow.cluster."""

import argparse
import shlex
import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..config.values import ConfigError
from ..errors import CommandError
from ..git import GitError
from . import records, scheduler
from .follow import each_standings, follow, last_lines, standings
from .records import Job

SHOWN = 20  # jobs in a table


def main() -> int:
    arguments = parser().parse_args()
    try:
        match arguments.action:
            case "train":
                return train(arguments.overrides, arguments.detach)
            case "check":
                return check(arguments.overrides)
            case "status":
                return status(arguments.job)
            case "logs":
                return logs(records.find(arguments.job), arguments.follow)
            case _:
                return cancel(records.find(arguments.job))
    except ConfigError as error:
        raise SystemExit(f"config: {error}") from None
    except (CommandError, GitError) as error:
        raise SystemExit(f"cluster: {error}") from None


def train(overrides: list[str], detach: bool) -> int:
    """Submit a training, and follow it."""
    from .submit import train

    job = train(overrides)
    print(f"job {job.id} becomes the experiment {job.name}; its code: {job.snapshot}")
    if detach:
        print(f"next: inv cluster.logs {job.id} --follow, inv cluster.cancel {job.id}")
        return 0
    return follow_to_end(job)


def follow_to_end(job: Job) -> int:
    """Follow a job and say what comes next, also after Ctrl-C, which leaves it running."""
    try:
        succeeded = follow(job)
    except KeyboardInterrupt:
        print(
            f"\njob {job.id} keeps running: inv cluster.logs {job.id} --follow shows it again,"
            f" inv cluster.cancel {job.id} ends it"
        )
        return 130
    if not succeeded:
        if job.snapshot:
            print(f"its code and checkpoints are in {job.snapshot}; inv clean removes them")
        return 1
    for task, standing in standings(job).items():
        if standing.text:
            print(f"job {task} {standing.state}: {standing.text}")
    if job.kind == "train":
        print(f"next: inv exp.apply {job.name}, inv compare")
    return 0


def check(overrides: list[str]) -> int:
    """Say whether a training could start, and when."""
    from .submit import expected_start, prepare

    request = prepare(overrides)
    print(f"it can start: SLURM expects it {expected_start(request)}")
    print(f"next: inv train -- {shlex.join(overrides)}")
    return 0


def status(job_id: str) -> int:
    """Show the state of one job, or of the latest ones."""
    jobs = [records.find(job_id)] if job_id else list(records.every())[-SHOWN:]
    if not jobs:
        print("no job was submitted from this project\nnext: inv train -- cluster=slurm")
        return 0
    table = Table(box=None, header_style="bold")
    for name in ("job", "submitted", "what", "state"):
        table.add_column(name, no_wrap=True)
    table.add_column("", overflow="fold")
    for job, found in each_standings(jobs):
        for task, standing in found.items():
            what = f"{job.kind} {job.name}"
            table.add_row(*map(Text, (task, job.when, what, standing.state, standing.text)))
    console = Console(highlight=False)
    console.width = max(console.width, 100)  # narrower, rich would leave columns out
    console.print(table)
    print(f"next: inv cluster.logs {jobs[-1].id}")
    return 0


def logs(job: Job, follows: bool) -> int:
    """Show the end of a job's log, or follow it."""
    if follows:
        return follow_to_end(job)
    for task, standing in standings(job).items():
        print(f"job {task} {standing.state}: {standing.text} ({job.log(task)})")
        for line in last_lines(job.log(task), 50):
            print(f"  {line}")
    return 0


def cancel(job: Job) -> int:
    """End a job."""
    current = standings(job)
    if all(standing.has_ended for standing in current.values()):
        states = ", ".join(sorted({standing.state for standing in current.values()}))
        print(f"job {job.id} has ended: {states}")
        return 0
    scheduler.cancel(job.id)
    print(f"job {job.id} is cancelled")
    if job.snapshot:
        print(f"its code and checkpoints are in {job.snapshot}; inv clean removes them")
    print(f"next: inv cluster.status --job {job.id}")
    return 0


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="cluster", description=__doc__)
    actions = root.add_subparsers(dest="action", required=True)
    action = actions.add_parser("train", help="submit a training, and follow it")
    action.add_argument("--detach", action="store_true", help="do not follow it")
    action.add_argument("overrides", nargs="*")
    action = actions.add_parser("check", help="say whether a training can ever start")
    action.add_argument("overrides", nargs="*")
    action = actions.add_parser("status", help="show the state of jobs")
    action.add_argument("job", nargs="?", default="")
    action = actions.add_parser("logs", help="show what a job printed")
    action.add_argument("job")
    action.add_argument("--follow", action="store_true")
    action = actions.add_parser("cancel", help="end a job")
    action.add_argument("job")
    return root


if __name__ == "__main__":
    sys.exit(main())
