"""The template that the project comes from: what is newer, where they differ, following it."""

from invoke import Context, task

from .shell import follows, run_module

FORMATS = {"json": "for other programs"}


@task(help=FORMATS)
def check(context: Context, json: bool = False) -> None:
    """Say what is newer in the template; exit code 2 if anything."""
    options = ["--json"] if json else []
    run_module("template.drift", "check", *options, shown=not json)


@task(help=FORMATS)
def diff(context: Context, json: bool = False) -> None:
    """Show where managed files differ from the template's."""
    options = ["--json"] if json else []
    run_module("template.drift", "diff", *options, shown=not json)


@task(
    help={
        "url": "the template's repository: a URL or a folder",
        "version": "that the project was made from; default: the one that its files are of",
        "answer": "NAME=VALUE, where the project does not say it; repeatable",
    },
    iterable=["answer"],
)
def link(context: Context, url: str, version: str = "", answer: list[str] | None = None) -> None:
    """Record where the project comes from, if nothing does."""
    given = [f"--answer={one}" for one in answer or ()]
    run_module("template.link", url, *([f"--version={version}"] if version else []), *given)
    follows("inv template.diff", "inv template.check")


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


@task
def propose(context: Context) -> None:
    """Push the branch of an update; open a pull request of it."""
    run_module("template.proposal")
