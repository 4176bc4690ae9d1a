"""The pull request of a branch on GitHub, by `gh`, which also knows the host and its token."""

import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from .. import git
from ..errors import CommandError, one_line
from .branches import REMOTE
from .record import without_secret

ADDRESS = re.compile(r"https://([^/]+)/([^/]+/[^/]+)/pull/(\d+)")


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


def change(project: Path, url: str, title: str, text: str) -> None:
    """Give a pull request another title and text.

    Raises:
        CommandError: GitHub refuses.
    """
    address = ADDRESS.match(url)
    if address is None:
        raise CommandError(f"{url} is not the address of a pull request")
    host, repository, number = address.groups()
    # Not by `gh pr edit`: older ones ask for projects, which GitHub no longer answers.
    fields = (f"--raw-field=title={title}", f"--raw-field=body={text}")
    path = f"repos/{repository}/pulls/{number}"
    run(project, "gh", "api", f"--hostname={host}", "--method=PATCH", path, *fields)


def run(folder: Path, *command: str) -> str:
    """Run `gh` or `glab` in a folder, and return what it printed.

    Raises:
        CommandError: it failed; its reason.
    """
    result = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        encoding="utf-8",
        errors="replace",
    )
    if result.returncode:
        # Of a file in which glab has kept what was typed, nothing is said.
        lines = [line for line in result.stderr.splitlines() if "recover" not in line]
        raise CommandError(f"{command[0]}: {one_line(' '.join(lines))}")
    return result.stdout


def _gh(project: Path, *arguments: str) -> str:
    return run(project, "gh", "pr", *arguments, *_repository(project))


def _repository(project: Path) -> list[str]:
    """Return what keeps `gh` at origin: by itself it prefers a remote called upstream."""
    if (git.text(project, "remote") or "").split() == [REMOTE]:
        return []
    return [f"--repo={without_secret(git.text(project, 'remote', 'get-url', REMOTE) or '')}"]
