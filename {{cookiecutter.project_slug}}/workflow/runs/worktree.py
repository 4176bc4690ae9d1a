"""Worktrees of the project's repository: what a run is restored into, and a job runs in."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import git
from ..errors import CommandError
from ..paths import ROOT


@contextmanager
def added(commit: str, folder: Path) -> Iterator[None]:
    """Add a worktree of a commit; if what follows fails, remove it again."""
    existed, parent_existed = folder.exists(), folder.parent.exists()
    try:
        # Hooks are for people's own checkouts; DVC's would write data.
        git.run(
            ROOT,
            *("-c", f"core.hooksPath={os.devnull}"),
            *("worktree", "add", "--detach", "--quiet", str(folder), commit),
        )
        yield
    except BaseException:
        git.ask(ROOT, "worktree", "remove", "--force", str(folder))
        shutil.rmtree(folder, ignore_errors=True)
        git.ask(ROOT, "worktree", "prune")
        if existed:
            folder.mkdir()
        elif not parent_existed and folder.parent.exists():
            folder.parent.rmdir()
        raise


def remove(folder: Path, repository: Path = ROOT) -> None:
    """Remove a worktree with all that is in it, and our own folder of such when it is empty."""
    git.run(repository, "worktree", "remove", "--force", str(folder))
    is_ours = folder.parent.name.startswith(f"{repository.name}-")
    if is_ours and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def copy_secrets(project: Path) -> None:
    """Copy .env, with its mode, where Git ignores it."""
    ignored = git.ask(project, "check-ignore", "--quiet", ".env") is not None
    if (ROOT / ".env").exists() and ignored:
        shutil.copy2(ROOT / ".env", project / ".env")


def top() -> Path:
    """Return the top of the repository that the project is in.

    Raises:
        CommandError: there is none.
    """
    if folder := git.top(ROOT):
        return folder.resolve()
    raise CommandError("the project is not a Git repository yet: inv setup")


def prefix() -> str:
    """Return where the project is in its repository: "", or a folder with a slash behind it."""
    return os.fsdecode(git.run(ROOT, "rev-parse", "--show-prefix")).strip()
