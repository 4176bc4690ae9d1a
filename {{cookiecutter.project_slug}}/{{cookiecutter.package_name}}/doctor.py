"""Is everything there that the project needs? Each line: fine, or the command that mends it."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from . import git as vcs
from .git import GitError
from .paths import ROOT


@dataclass(frozen=True)
class Finding:
    """What one check saw; `mend` is what to type where `fine` is false."""

    fine: bool
    detail: str
    mend: str = ""


def python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(True, f"{version} in {sys.prefix}")


def environment() -> Finding:
    """Is the lock in step with pyproject.toml, and the environment with the lock?"""
    if "UV_NO_SYNC" in os.environ:
        return Finding(True, f"of the image {os.environ.get('WANDB_DOCKER', '')}")
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        return Finding(False, "uv is not installed", "pip install uv")
    if _run(uv, "lock", "--check").returncode:
        return Finding(False, "uv.lock is older than pyproject.toml", "uv lock")
    if _run(uv, "sync", "--check", "--inexact").returncode:
        return Finding(False, "the environment differs from uv.lock", "uv sync --inexact")
    return Finding(True, "as uv.lock says")


def git() -> Finding:
    try:
        if not vcs.head(ROOT):
            return Finding(False, "no Git repository with a commit", "inv setup")
        if not vcs.text(ROOT, "config", "user.email"):
            return Finding(False, "Git knows no author", "git config user.email you@example.com")
        if hidden := vcs.hidden(ROOT):
            return Finding(
                False,
                f"Git's settings outside of the project ignore {', '.join(hidden)}",
                f"git add --force {shlex.join(hidden)}",
            )
        return Finding(True, f"{vcs.text(ROOT, 'rev-list', '--count', 'HEAD')} commits")
    except GitError as error:
        return Finding(False, error.reason, error.fix)


def hooks() -> Finding:
    path = _run("git", "rev-parse", "--git-path", "hooks/pre-commit").stdout.strip()
    if path and Path(path).exists():
        return Finding(True, "installed")
    return Finding(False, "the pre-commit hooks are not installed", "inv setup")


def remote() -> Finding:
    """Does the DVC remote answer, with the credentials that are there?"""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        store = Repo().cloud.get_remote_odb()
        if store.fs.protocol == "local":
            return _folder(Path(store.path))
        with contextlib.suppress(FileNotFoundError):  # nothing was pushed as yet
            store.fs.info(store.path)
    except DvcException as error:
        return Finding(False, _line(error), "inv setup")
    except Exception as error:
        # Each kind of remote raises errors of its own client.
        return Finding(
            False, f"does not answer: {_line(error)}", "dvc remote modify --local storage …"
        )
    return Finding(True, f"{store.fs.protocol}: {store.path}")


def account() -> Finding:
    import wandb

    if wandb.login(prompt=False, verify=False):
        return Finding(True, "an API key is there: runs are online")
    return Finding(True, "no API key: runs stay offline (`inv wandb.login` changes that)")


def gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding(True, f"{torch.cuda.get_device_name()}: inv train -- trainer=gpu")
    if shutil.which("nvidia-smi"):
        return Finding(False, "a driver is there, but PyTorch sees no GPU", "nvidia-smi")
    return Finding(True, "none: training runs on the processor")


CHECKS: dict[str, Callable[[], Finding]] = {
    "Python": python,
    "environment": environment,
    "Git": git,
    "hooks": hooks,
    "DVC remote": remote,
    "W&B": account,
    "GPU": gpu,
}


def main() -> None:
    table = Table.grid(padding=(0, 2))
    wrong = 0
    for name, check in CHECKS.items():
        finding = check()
        wrong += not finding.fine
        mend = f"→ {finding.mend}" if finding.mend else ""
        table.add_row("ok" if finding.fine else "[red]mend[/]", name, finding.detail, mend)
    Console().print(table)
    if wrong:
        raise SystemExit(1)


def _folder(path: Path) -> Finding:
    """Check that DVC may write to a folder, or make it."""
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        mend = "dvc remote modify --local storage url FOLDER"
        return Finding(False, f"no permission to write to {existing}", mend)
    return Finding(True, f"folder {path}")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"{command[0]} is not installed")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


if __name__ == "__main__":
    main()
