"""The template that the project comes from: what is newer, where they differ, following it."""

from invoke import Context, task

from ..template import options
from .shell import follows, run_module

FORMATS = {"json": "for other programs"}


@task(help=FORMATS)
def check(context: Context, json: bool = False) -> None:
    """Say what is newer in the template; exit code 2 if anything."""
    run_module("template.drift", "check", *(["--json"] if json else []), shown=not json)


@task(help=FORMATS)
def diff(context: Context, json: bool = False) -> None:
    """Show where managed files differ from the template's."""
    run_module("template.drift", "diff", *(["--json"] if json else []), shown=not json)


@task(
    help={"url": "the template's repository: a URL or a folder", **options.LINK},
    iterable=options.LINK_REPEATABLE,
)
def link(context: Context, url: str, version: str = "", answer: list[str] | None = None) -> None:
    """Record where the project comes from, if nothing does."""
    run_module("template.link", url, *options.of_link(version, answer))
    follows("inv template.diff", "inv template.check")


@task(help={**options.UPDATE, "scheduled": options.SCHEDULED}, iterable=options.UPDATE_REPEATABLE)
def update(
    context: Context,
    to: str = "",
    answer: list[str] | None = None,
    drop: list[str] | None = None,
    no_test: bool = False,
    continue_: bool = False,
    abort: bool = False,
    scheduled: bool = False,
) -> None:
    """Update the project from its template, on a branch."""
    typed = options.of_update(to, answer, drop, no_test, continue_, abort)
    run_module("template.update", *typed, *(["--scheduled"] if scheduled else []))


@task(help={"path": "a file or folder"})
def eject(context: Context, path: str) -> None:
    """Make a managed file the project's own: updates leave it."""
    run_module("template.eject", path)


@task
def propose(context: Context) -> None:
    """Push the branch of an update; open a pull request of it."""
    run_module("template.proposal")
