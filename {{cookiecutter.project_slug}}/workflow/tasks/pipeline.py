"""From data to an evaluated model, and what came out."""

import re
import time

from invoke import Context, task
from invoke.exceptions import Exit

from .shell import follows, overrides, require_code, run, run_module

HERE = "cluster=local"
OF_A_JOB = re.compile(r"[+~]*(cluster|resources)\b")  # what a training's config does not have


@task(
    help={
        "check": "run nothing; fail where the results are of other code, config or data",
        "detach": "of a job of a cluster: submit it, and do not follow it",
    }
)
def train(context: Context, check: bool = False, detach: bool = False) -> None:
    """Run what changed of the pipeline; Hydra overrides after `--`."""
    since = time.time()
    typed = [override for override in overrides() if override != HERE]
    require_code(experiment=bool(typed))
    if check:
        run_module("pipeline.check", *typed)
        return
    if any(OF_A_JOB.match(override) for override in typed):
        run_module("cluster", "train", *(["--detach"] if detach else []), "--", *typed)
        return
    if detach:
        raise Exit("--detach is of a job: inv train --detach -- cluster=slurm", code=1)
    if typed:
        run_module("pipeline.params", "--check", *typed)
        run("dvc", "exp", "run", *(f"--set-param={override}" for override in typed))
    else:
        run("dvc", "repro")
    _show_outcome(since)


@task
def evaluate(context: Context) -> None:
    """Evaluate the exported model, and show its metrics."""
    since = time.time()
    require_code()
    run("dvc", "repro", "evaluate")
    _show_outcome(since)


@task(
    help={
        "commits": "how many earlier commits to show too",
        "base": "what the branch changes instead, against REMOTE/BRANCH or a revision",
        "markdown": "that as a page of Markdown, for a pull request",
    }
)
def compare(context: Context, commits: int = 0, base: str = "", markdown: bool = False) -> None:
    """Show experiments as a table: what differed, what came out."""
    if base:
        options = ["--markdown"] if markdown else []
        run_module("runs.changes", base, *options, shown=not markdown)
    else:
        run_module("runs.experiments", *(["--all-commits", str(commits)] if commits else []))


@task(help={"show": "open the page in the browser"})
def report(context: Context, show: bool = False) -> None:
    """Write reports/report.html: what came out, as one page."""
    run_module("report", *(["--show"] if show else []))
    follows(*([] if show else ["inv report --show"]), "inv serve")


def _show_outcome(since: float) -> None:
    from ..pipeline import outcome

    outcome.show(since)
