"""Past runs: their lineage, restoring one, running it again."""

from invoke import Context, task

from .shell import run_module

OPTIONS = {
    "run": "folder or id in wandb/, DVC experiment, Git revision, entity/project/id of W&B,"
    " or of the registry: model (in production), model#staging, model@v0.0.1",
    "into": "a new folder; default: beside the project",
}


@task(help={"what": "a model's file, a service's URL, or a run as `inv restore` takes it"})
def lineage(context: Context, what: str) -> None:
    """Show where a model comes from: run, commit, data, image."""
    run_module("runs.lineage", what)


@task(help=OPTIONS)
def restore(context: Context, run: str, into: str = "") -> None:
    """Restore a run: code, data, config, environment, image."""
    run_module("runs.restoring", "restore", run, *([f"--into={into}"] if into else []))


@task(help=OPTIONS)
def reproduce(context: Context, run: str, into: str = "") -> None:
    """Run a past run again, and compare each metric."""
    run_module("runs.restoring", "reproduce", run, *([f"--into={into}"] if into else []))
