"""The template's migrations: what a merge cannot do to a project's own files.

A script of the template's folder `migrations/`, standard library only, run as

    python migrations/NAME.py PROJECT

It has a constant `VERSION`, the version of the template that needs it, and may be run twice.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

from .. import git
from ..errors import CommandError, shortened

FOLDER = "migrations"


def between(template: Path, old: str | None, new: str | None) -> list[Path]:
    """Return the migrations after one version and up to another, in the order of versions.

    Args:
        template: a folder with the template's files.
        old: the version of the project before; None for one from before there were versions.
    """
    scripts = [(number(_version(path)), path) for path in (template / FOLDER).glob("*.py")]
    return [path for needed, path in sorted(scripts) if number(old) < needed <= number(new)]


def run(script: Path, project: Path) -> list[str]:
    """Run a migration on a project, and return the lines that it printed.

    Raises:
        CommandError: it failed.
    """
    variables = {k: v for k, v in os.environ.items() if k not in git.OF_A_REPOSITORY}
    result = subprocess.run(
        [sys.executable, str(script), str(project)],
        cwd=project,
        env={**variables, "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if result.returncode:
        raise CommandError(
            f"migration {script.stem}: {shortened(result.stderr or result.stdout, 400)}"
        )
    return result.stdout.splitlines()


def number(version: str | None) -> tuple[int, ...]:
    """Return a version as numbers that can be compared; None is before all others."""
    parts = (version or "0").partition("-")[0].split(".")
    return tuple(int(part) if part.isdigit() else 0 for part in parts)


def _version(script: Path) -> str:
    """Return the constant VERSION of a script, without running it.

    Raises:
        CommandError: it has none.
    """
    for node in ast.parse(script.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if names == ["VERSION"] and isinstance(node.value.value, str):
                return node.value.value
    raise CommandError(f"migrations/{script.name} of the template has no VERSION")
