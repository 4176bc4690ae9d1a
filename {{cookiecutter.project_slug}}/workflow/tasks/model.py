"""The model registry: which version is in which stage."""

from invoke import Context, task

from .shell import follows, run_module

STAGE = {"stage": "such as production, staging"}


@task(help={"run": "as `inv restore` takes it, or a version: model@v0.0.1", **STAGE})
def promote(context: Context, run: str, stage: str = "production") -> None:
    """Register the model of a run as a version, in a stage."""
    run_module("runs.promoting", "promote", run, f"--stage={stage}")
    follows("inv data.push", "git push --tags", f"inv serve --models 'model=model#{stage}'")


@task(help=STAGE)
def demote(context: Context, stage: str = "production") -> None:
    """Demote the version in a stage; the previous one is back."""
    run_module("runs.promoting", "demote", f"--stage={stage}")
    follows("git push --tags", "inv model.history")


@task
def history(context: Context) -> None:
    """Show which version was in which stage when, and by whom."""
    run_module("runs.promoting", "history")
    follows("inv restore model@VERSION", "inv model.promote RUN")
