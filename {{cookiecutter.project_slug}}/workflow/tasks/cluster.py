"""Jobs of a cluster, which `inv train -- cluster=slurm` submits."""

from invoke import Context, task

from .shell import overrides, run_module

JOB = "its number, as `inv train -- cluster=…` or `inv cluster.status` shows it"


@task
def check(context: Context) -> None:
    """Ask whether a job can ever start; overrides after `--`."""
    run_module("cluster", "check", "--", *(overrides() or ["cluster=slurm"]))


@task(help={"job": f"{JOB}; default: the last ones"})
def status(context: Context, job: str = "") -> None:
    """Show the jobs of this project: what waits, runs, came out."""
    run_module("cluster", "status", *([job] if job else []))


@task(help={"job": JOB, "follow": "until it has ended"})
def logs(context: Context, job: str, follow: bool = False) -> None:
    """Show what a job printed, and how it stands."""
    run_module("cluster", "logs", job, *(["--follow"] if follow else []))


@task(help={"job": JOB})
def cancel(context: Context, job: str) -> None:
    """End a job; its checkpoints stay."""
    run_module("cluster", "cancel", job)
