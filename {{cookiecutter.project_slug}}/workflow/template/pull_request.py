"""The pull request of a branch on GitHub, by `gh`, which also knows the host and its token."""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from .. import git
from ..errors import CommandError, one_line
from .record import without_secret

REMOTE = "origin"


class PullRequest(NamedTuple):
    """A pull request as GitHub has it."""

    url: str
    is_open: bool


def find(project: Path, branch: str) -> PullRequest | None:
    """Return the pull request of a branch: an open one before those that were merged or closed.

    Raises:
        CommandError: GitHub does not answer, or refuses.
    """
    fields = "--json=url,state,isCrossRepository"
    listed = json.loads(_gh(project, "list", f"--head={branch}", "--state=all", fields))
    known = [
        PullRequest(entry["url"], entry["state"] == "OPEN")
        for entry in listed
        if not entry["isCrossRepository"]  # a branch of that name in somebody's fork
    ]
    return next((one for one in known if one.is_open), known[0] if known else None)


def create(project: Path, branch: str, title: str, text: str, base: str = "") -> str:
    """Open a pull request of a branch that is pushed, and return its URL.

    Args:
        base: the branch that it is for; "" for the repository's default one.

    Raises:
        CommandError: GitHub refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder) / "text.md"
        body.write_text(text, encoding="utf-8")
        words = [f"--head={branch}", f"--title={title}", f"--body-file={body}"]
        return _gh(project, "create", *words, *([f"--base={base}"] if base else [])).strip()


def _gh(project: Path, *arguments: str) -> str:
    result = subprocess.run(
        ["gh", "pr", *arguments, *_repository(project)],
        cwd=project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        encoding="utf-8",
        errors="replace",
    )
    if result.returncode:
        raise CommandError(f"gh: {one_line(result.stderr)}")
    return result.stdout


def _repository(project: Path) -> list[str]:
    """Return what keeps `gh` at origin: by itself it prefers a remote called upstream."""
    if (git.text(project, "remote") or "").split() == [REMOTE]:
        return []
    return [f"--repo={without_secret(git.text(project, 'remote', 'get-url', REMOTE) or '')}"]
