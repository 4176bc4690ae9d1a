"""The commands on a project of any version, which may have none of its own: `inv update`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from invoke import Context, Exit, task
from workflow.template import options

from fork import PROJECT

ROOT = Path(__file__).resolve().parents[1]
ITS_FOLDER = {"project": "its folder"}


@task(help={**ITS_FOLDER, **options.UPDATE}, iterable=options.UPDATE_REPEATABLE)
def update(
    context: Context,
    project: str,
    to: str = "",
    answer: list[str] | None = None,
    drop: list[str] | None = None,
    no_test: bool = False,
    continue_: bool = False,
    abort: bool = False,
) -> None:
    """Update a project that has no `inv template.update`: one of 3.1.0 or earlier."""
    typed = options.of_update(to, answer, drop, no_test, continue_, abort)
    run("update", project, *typed)


@task(help={**ITS_FOLDER, "path": "a file or folder in it"})
def eject(context: Context, project: str, path: str) -> None:
    """Make a managed file of such a project its own."""
    run("eject", project, path)


@task(
    help={
        **ITS_FOLDER,
        "url": "of the template, as the project records it; default: this folder",
        **options.LINK,
    },
    iterable=options.LINK_REPEATABLE,
)
def link(
    context: Context,
    project: str,
    url: str = "",
    version: str = "",
    answer: list[str] | None = None,
) -> None:
    """Record this template in a project, or bring it to a repository as a branch to merge."""
    run("link", project, url or str(ROOT), *options.of_link(version, answer))


def run(module: str, project: str, *arguments: str) -> None:
    """Run a module of this version's workflow/template/ on a project."""
    command = [sys.executable, "-m", f"workflow.template.{module}"]
    command += [f"--project={Path(project).resolve()}", *arguments]
    print(f"$ {' '.join(command)}", flush=True)
    inherited = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    variables = {**inherited, "PYTHONDONTWRITEBYTECODE": "1"}
    folder = ROOT / PROJECT
    if code := subprocess.run(command, cwd=folder, env=variables, check=False).returncode:
        raise Exit(code=code)
