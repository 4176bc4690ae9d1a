"""From data to an evaluated model, and what came out."""

from invoke import Context, task

from .shell import overrides, run, run_module


@task
def train(context: Context) -> None:
    """Run what changed of the pipeline, up to the evaluated model. Hydra overrides after `--`."""
    if overrides():
        run_module("compose", "--check", *overrides())
        run("dvc", "exp", "run", *(f"--set-param={override}" for override in overrides()))
    else:
        run("dvc", "repro")


@task
def evaluate(context: Context) -> None:
    """Bring the measures of the exported model up to date and show them."""
    run("dvc", "repro", "evaluate")
    run("dvc", "metrics", "show")


@task
def compare(context: Context) -> None:
    """Show the experiments as a table: what differed, what came out."""
    run_module("experiments")


@task(help={"show": "open the page in the browser"})
def report(context: Context, show: bool = False) -> None:
    """Write reports/report.html: curves, mistakes, experiments, provenance in one page."""
    run_module("report", *(["--show"] if show else []))
