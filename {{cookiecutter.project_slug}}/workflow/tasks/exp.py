"""Experiments: queued with their code and config, run later, some at a time."""

from invoke import Context, task

from .shell import follows, overrides, require_code, require_git, run, run_module


@task
def queue(context: Context) -> None:
    """Queue an experiment for each combination of the overrides.

    inv exp.queue -- 'seed=0,1,2'
    """
    require_code(experiment=True)
    run_module("pipeline.params", "--check-grid", *overrides())
    run("dvc", "exp", "run", "--queue", *(f"--set-param={override}" for override in overrides()))
    follows("inv exp.run")


@task(name="run", help={"jobs": "how many at a time"})
def run_queued(context: Context, jobs: int = 1) -> None:
    """Run the queued experiments; `inv compare` shows them."""
    require_git()
    run_module("pipeline.queue", f"--jobs={jobs}")


@task(help={"name": "of the experiment, as `inv compare` shows it"})
def apply(context: Context, name: str) -> None:
    """Check out an experiment; write its values into conf/."""
    require_git()
    run_module("pipeline.apply", name)


@task(help={"name": "of the experiment"})
def pull(context: Context, name: str) -> None:
    """Fetch an experiment that another machine pushed."""
    require_git()
    run("dvc", "exp", "pull", "origin", name)
    follows("inv compare", f"inv exp.apply {name}")
