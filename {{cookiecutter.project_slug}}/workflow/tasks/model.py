"""The model registry: which version is in which stage."""

from invoke import Context, task

from .shell import follows, run_module

OPTIONS = {
    "stage": "such as production, staging",
    "offline": "without asking Git's remote first",
    "push": "send the tags to Git's remote at once",
}
ASKED = {"offline": OPTIONS["offline"]}


@task(help={"run": "as `inv restore` takes it, or a version: model@v0.0.1", **OPTIONS})
def promote(
    context: Context,
    run: str,
    stage: str = "production",
    offline: bool = False,
    push: bool = False,
) -> None:
    """Register the model of a run as a version, in a stage."""
    run_module("runs.promoting", "promote", run, f"--stage={stage}", *_flags(offline, push))
    follows("inv data.push", *_share(push), f"inv serve --models 'model=model#{stage}'")


@task(help=OPTIONS)
def demote(
    context: Context, stage: str = "production", offline: bool = False, push: bool = False
) -> None:
    """Demote the version in a stage; the previous one is back."""
    run_module("runs.promoting", "demote", f"--stage={stage}", *_flags(offline, push))
    follows(*_share(push), "inv model.history")


@task(help=ASKED)
def history(context: Context, offline: bool = False) -> None:
    """Show which version was in which stage when, and by whom."""
    run_module("runs.promoting", "history", *_flags(offline))
    follows("inv restore model@VERSION", "inv model.promote RUN")


@task
def reconcile(context: Context) -> None:
    """Give tags that clash with Git's remote the next numbers."""
    run_module("runs.promoting", "reconcile")
    follows("git push --tags", "inv model.history")


def _flags(offline: bool, push: bool = False) -> list[str]:
    return [*(["--offline"] if offline else []), *(["--push"] if push else [])]


def _share(pushed: bool) -> list[str]:
    return [] if pushed else ["git push --tags"]
