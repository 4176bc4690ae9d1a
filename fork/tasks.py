"""The commands of a fork: `inv fork`, `inv upstream`, `inv fleet.status`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from invoke import Collection, Context, Exit, task
from workflow.errors import CommandError
from workflow.git import GitError

from fork import fleet, questions, upstream

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def errors_as_lines() -> Iterator[None]:
    """End a task with the line of an error."""
    try:
        yield
    except (CommandError, GitError) as error:
        raise Exit(str(error)) from None


@task(
    default=True,
    iterable=["default", "fix"],
    help={
        "url": "upstream's address; default: that of the remote upstream, or of origin",
        "default": "NAME=VALUE: a question's default, or a setting; as often as needed",
        "fix": "NAME=VALUE: an answer that is not asked any more",
    },
)
def start(context: Context, default: list[str], fix: list[str], url: str = "") -> None:
    """Start a fork in this clone: write team/, lay it over the template, commit."""
    with errors_as_lines():
        address = url or upstream.address(ROOT)
        upstream.require_none(ROOT)
        if default or fix or not sys.stdin.isatty():
            defaults, fixed = questions.parsed_options(ROOT, default, fix)
        else:
            defaults, fixed = questions.ask(ROOT)
        laid = upstream.start(ROOT, address, questions.first_files(defaults, fixed))
    print(f"team/ is laid over the template: {len(laid)} files, committed")
    print("next: edit team/, inv fork.lay, inv test")


@task
def lay(context: Context) -> None:
    """Lay team/ over the template again, after an edit of it."""
    with errors_as_lines():
        names = upstream.lay_again(ROOT)
        upstream.try_out(ROOT)
    for name in names[:20]:
        print(f"  {name}")
    print(f"{len(names)} files changed" if names else "nothing changed: it was laid already")
    print("next: inv test, git add --all, git commit")


@task(name="upstream", help={"to": "a commit of upstream; default: its newest"})
def merge_upstream(context: Context, to: str = "") -> None:
    """Merge upstream's newest version into this fork."""
    with errors_as_lines():
        followed = upstream.follow(ROOT, to)
    for problem in followed.problems:
        print(f"team/ names what upstream no longer has: {problem}")
    if followed.conflicts:
        print("in conflict, of what you changed beside team/:")
        for name in followed.conflicts:
            print(f"  {name}")
        print("next: edit them, git add --all, git cherry-pick --continue")
        raise Exit("or as before: git cherry-pick --abort", 1)
    if followed.old == followed.new:
        print("up to date")
        return
    print(f"merged upstream {followed.version or ''} ({followed.new[:10]})")
    print("next: inv check, inv test, git push; then inv fleet.update")


@task(help={"json": "for a program"})
def status(context: Context, json: bool = False) -> None:
    """Show version, drift and checks of each project of team/projects.toml."""
    with errors_as_lines():
        rows = fleet.status(ROOT)
    print(fleet.as_json(rows) if json else fleet.table(rows))
    if any(row.problem for row in rows):
        raise Exit(code=1)
    if not json:
        print("next: inv fleet.update")


@task(
    help={
        "apply": "push a branch with each update, and open a pull request",
        "json": "for a program",
    }
)
def update(context: Context, apply: bool = False, json: bool = False) -> None:
    """Show what an update of each project would change; --apply pushes branches."""
    with errors_as_lines():
        rows = fleet.update(ROOT, apply)
    print(fleet.as_json(rows) if json else fleet.table(rows))
    conflicts = ", ".join(row.name for row in rows if row.state == "conflict")
    if not all(row.is_good for row in rows):
        is_told = conflicts and not json  # another problem's row says what to do
        raise Exit(f"next, in {conflicts}: inv template.update" if is_told else "", 1)
    if not json and not apply:
        print("next: inv fleet.update --apply")


fork_tasks = Collection("fork", start, lay)
fleet_tasks = Collection("fleet", status, update)
