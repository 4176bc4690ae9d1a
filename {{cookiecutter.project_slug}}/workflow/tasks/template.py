"""The template that the project comes from: following it."""

from invoke import Context, task

from .shell import run_module


@task(
    help={
        "to": "a version, tag or commit of the template; default: the newest",
        "answer": "NAME=VALUE, to a new question, or another answer; repeatable",
        "drop": "a managed file or folder whose edits are dropped; repeatable",
        "no_test": "without inv check and inv test",
        "continue_": "after a conflict, or a check that failed",
        "abort": "as if nothing had happened",
    },
    iterable=["answer", "drop"],
)
def update(
    context: Context,
    to: str = "",
    answer: list[str] | None = None,
    drop: list[str] | None = None,
    no_test: bool = False,
    continue_: bool = False,
    abort: bool = False,
) -> None:
    """Update the project from its template, on a branch."""
    options = [f"--to={to}"] if to else []
    options += [f"--answer={one}" for one in answer or ()] + [f"--drop={one}" for one in drop or ()]
    flags = {"--no-test": no_test, "--continue": continue_, "--abort": abort}
    run_module("template.update", *options, *(name for name, is_set in flags.items() if is_set))


@task(help={"path": "a file or folder"})
def eject(context: Context, path: str) -> None:
    """Make a managed file the project's own: updates leave it."""
    run_module("template.eject", path)
