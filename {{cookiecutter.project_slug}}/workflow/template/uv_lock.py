"""`uv.lock` after an update: solved again from the merged pyproject.toml, never merged as text.

It starts from the template's new lock. Versions that the project has changed since it was made
stay, and so do its own dependencies.
"""

import os
import re
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import uv
from ..errors import CommandError, shortened

# Variables by which uv would solve something else, or nothing: pyproject.toml alone decides.
DECIDED = (
    "UV_EXCLUDE_NEWER",
    "UV_FORK_STRATEGY",
    "UV_FROZEN",
    "UV_LOCKED",
    "UV_PRERELEASE",
    "UV_PROJECT",
    "UV_RESOLUTION",
    "UV_WORKING_DIR",
    "VIRTUAL_ENV",
)


def pins(base: str, ours: str, theirs: str) -> dict[str, str]:
    """Return the versions that the project has changed and that the new lock has to keep.

    A version that the template has raised beyond the project's is not among them.

    Args:
        base: the lock of the template's old version; "" for none.
        ours: the project's.
        theirs: that of the template's new version.
    """
    old, new = versions(base), versions(theirs)
    return {
        name: version
        for name, version in versions(ours).items()
        if version != old.get(name)
        and version != new.get(name)
        and not (
            name in old
            and name in new
            and _numbers(old[name]) < _numbers(version) < _numbers(new[name])
        )
    }


def versions(lock: str) -> dict[str, str]:
    """Return the version of each package from an index; not of those locked in several versions.

    Raises:
        CommandError: it is not a lock.
    """
    try:
        packages: list[dict[str, Any]] = tomllib.loads(lock).get("package", [])
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"uv.lock is not valid ({error}): uv lock") from None
    by_name: dict[str, set[str]] = {}
    for package in packages:
        if "registry" in package.get("source", {}) and "version" in package:
            by_name.setdefault(package["name"], set()).add(package["version"])
    return {name: min(several) for name, several in by_name.items() if len(several) == 1}


def solve(project: Path, pinned: Mapping[str, str]) -> list[str]:
    """Solve the lock again, and return the names of the pins that contradict pyproject.toml.

    Raises:
        CommandError: uv finds no solution even without them, or is not installed.
    """
    if _lock(project, pinned) is None:
        return []
    if reason := _lock(project, {}):
        raise CommandError(f"uv lock: {reason}")
    return _apply(project, list(pinned.items()))


def _apply(project: Path, pinned: list[tuple[str, str]]) -> list[str]:
    """Apply what is possible: a lock keeps the versions that are in it already."""
    if not pinned or _lock(project, dict(pinned)) is None:
        return []
    if len(pinned) == 1:
        return [pinned[0][0]]
    half = len(pinned) // 2
    return _apply(project, pinned[:half]) + _apply(project, pinned[half:])


def _lock(project: Path, pinned: Mapping[str, str]) -> str | None:
    """Run `uv lock`; return why it fails, None where it does not."""
    inherited = {name: value for name, value in os.environ.items() if name not in DECIDED}
    options = [f"--upgrade-package={name}=={version}" for name, version in pinned.items()]
    command = [uv.command(), "lock", "--project", str(project), *options]
    result = subprocess.run(
        command, cwd=project, env=inherited, capture_output=True, encoding="utf-8", check=False
    )
    return shortened(result.stderr, 400) if result.returncode else None


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
