"""Runs of the past: bringing one back, and running it again."""

from invoke import Context, task

from .shell import run_module

OPTIONS = {
    "run": "folder or id in wandb/, DVC experiment, Git revision, or entity/project/id of W&B",
    "into": "a new folder; default: beside the project",
}


@task(help=OPTIONS)
def restore(context: Context, run: str, into: str = "") -> None:
    """Bring a run back: code, data, config, environment, image."""
    run_module("restoring", "restore", run, *([f"--into={into}"] if into else []))


@task(help=OPTIONS)
def reproduce(context: Context, run: str, into: str = "") -> None:
    """Run a past run again, and compare each metric."""
    run_module("restoring", "reproduce", run, *([f"--into={into}"] if into else []))
