"""The one module that runs Git. Git that fails is an error, never the answer "no"."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

INSTALL = "https://git-scm.com/downloads"
# What Git itself says to type where a repository belongs to another user.
TRUST = re.compile(r"git config --global --add safe\.directory .+")
# Settings of the user's under which Git would print something else, or start a process.
SETTINGS = ("-c", "core.fsmonitor=false", "-c", "log.showSignature=false")
# What names the repository, its index or its objects, as in a hook of Git's.
OF_A_REPOSITORY = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
}
# What Git keeps in its folder while it waits for a person, and the command that left it so. The
# first counts: a rebase may have what a cherry-pick has, too.
UNDER_WAY = {
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "BISECT_LOG": "bisect",
}
# Dot-files of the project; all others are an editor's or the system's.
DOT_FILES = {
    ".cruft.json",
    ".devcontainer",
    ".dockerignore",
    ".dvc",
    ".dvcignore",
    ".editorconfig",
    ".env.example",
    ".gitattributes",
    ".github",
    ".gitignore",
    ".gitlab-ci.yml",
    ".pre-commit-config.yaml",
    ".python-version",
}


class GitError(Exception):
    """Git failed; the text says why, in one line.

    Args:
        fix: what to type; "" where Git's own words have to do.
    """

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(f"{reason}: {fix}" if fix else reason)
        self.reason = reason
        self.fix = fix


def run(
    folder: Path,
    *arguments: str,
    content: bytes = b"",
    variables: dict[str, str] | None = None,
    elsewhere: bool = False,
    seconds: float | None = None,
) -> bytes:
    """Run Git in a folder and return what it printed.

    Args:
        content: what Git reads from its input.
        variables: set for this command only.
        elsewhere: in a repository other than the project's, whatever Git's variables name.
        seconds: to wait for it, such as for a remote; None is without end.

    Raises:
        GitError: its exit code is not 0, it takes longer, or it is not installed.
    """
    if not shutil.which("git"):
        raise GitError("Git is not installed", INSTALL)
    left_out = OF_A_REPOSITORY if elsewhere else set()
    inherited = {name: value for name, value in os.environ.items() if name not in left_out}
    try:
        result = subprocess.run(
            ["git", *SETTINGS, *arguments],
            cwd=folder,
            env={**inherited, **(variables or {})},
            input=content,
            capture_output=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise GitError(f"git {arguments[0]}: no answer in {seconds:g} seconds") from None
    if result.returncode:
        raise _error(arguments, result.stderr.decode(errors="replace"))
    return result.stdout


def ask(folder: Path, *arguments: str) -> bytes | None:
    """Run Git in a folder; None where it says no, or where there is no repository.

    Raises:
        GitError: there is a repository, and Git is missing or does not open it.
    """
    try:
        return run(folder, *arguments)
    except GitError:
        top(folder)
        return None


def text(folder: Path, *arguments: str) -> str | None:
    """Like `ask`, decoded, without the line's end."""
    answer = ask(folder, *arguments)
    return None if answer is None else os.fsdecode(answer).rstrip("\r\n")


def top(folder: Path) -> Path | None:
    """Return the top of the repository around a folder; None where there is none.

    Raises:
        GitError: there is one, and Git is missing or does not open it.
    """
    try:
        return Path(os.fsdecode(run(folder, "rev-parse", "--show-toplevel")).rstrip("\r\n"))
    except GitError:
        if "GIT_DIR" in os.environ or any(_repositories(folder.resolve())):
            raise
        return None


def require(folder: Path) -> None:
    """Say what is wrong before a library does: DVC and gto end in a traceback.

    Raises:
        GitError: there is a repository, and Git is missing or does not open it.
    """
    top(folder)


def head(folder: Path) -> str | None:
    """Return the current commit; None where there is no repository, or no commit in it."""
    return text(folder, "rev-parse", "--verify", "--quiet", "HEAD")


def under_way(git_dir: Path) -> str:
    """Return the command of Git that waits for a person, such as "merge"; "" where none does.

    Args:
        git_dir: where Git keeps the state of the work tree.
    """
    return next((command for name, command in UNDER_WAY.items() if (git_dir / name).exists()), "")


def hidden(folder: Path) -> list[str]:
    """Return untracked files that the project needs, and that Git leaves out.

    These are the ones which settings outside of the project ignore, such as a global gitignore.
    What the project's own .gitignore names is left out on purpose.
    """
    others = ("ls-files", "--others", "-z", "--exclude-per-directory=.gitignore")
    names = set(run(folder, *others).split(b"\0"))
    names -= set(run(folder, *others, "--exclude-standard").split(b"\0"))
    return sorted(name for name in map(os.fsdecode, names) if _is_needed(name))


def _is_needed(name: str) -> bool:
    dotted = {part for part in name.split("/") if part.startswith(".")}
    return dotted <= DOT_FILES and not name.endswith("~")


def _error(arguments: tuple[str, ...], printed: str) -> GitError:
    if trust := TRUST.search(printed):
        return GitError("the project belongs to another user, so Git does not open it", trust[0])
    lines = [line.strip() for line in printed.splitlines() if line.strip()] or ["it failed"]
    # Of a push that a remote refuses, "error: failed to push some refs" comes after the reason.
    rejected = [line for line in lines if line.startswith(("remote: ", "! ["))]
    is_push = "push" in arguments and any(line.startswith("! [") for line in rejected)
    fatal = [line for line in lines if line.startswith(("fatal:", "error:"))]
    line = " ".join(rejected) if is_push else (fatal or lines)[0]
    command = next((word for word in arguments if not word.startswith("-") and "=" not in word), "")
    return GitError(f"git {command}: {line}")


def _repositories(folder: Path) -> Iterator[Path]:
    """Yield what makes a folder or those around it a repository, on the same file system."""
    device = folder.stat().st_dev
    for parent in (folder, *folder.parents):
        if parent.stat().st_dev != device:
            return
        if (parent / ".git").exists():
            yield parent / ".git"
