"""The project's Git repository: making it, its hooks, its first commit.

Settings of Git, of a user or a company, may rule out a part of it: that part is left out, and one
line says what to type.

    python -m workflow.repository make          a repository, where there is none; or --subfolder
    python -m workflow.repository initialize    author, hooks, first commit
"""

import argparse
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

from . import git, monorepo
from .errors import CommandError
from .git import GitError
from .paths import ROOT

MESSAGE = "Start from the template"


def main() -> None:
    arguments = vars(parser().parse_args())
    action = arguments.pop("action")
    try:
        if action == "make":
            make(ROOT, **arguments)
        else:
            initialize(ROOT)
    except (CommandError, GitError) as problem:
        raise SystemExit(str(problem)) from None


def make(folder: Path, nested: bool = False, subfolder: bool = False) -> None:
    """Make a repository of a folder, unless it is one, or belongs to the one around it.

    Args:
        nested: also inside of another repository.
        subfolder: it belongs to the repository around it.

    Raises:
        CommandError: what a subfolder needs at the top of its repository cannot be written there.
        GitError: it is inside of one, and neither is asked for; or Git is missing.
    """
    if (folder / ".git").exists():
        git.require(folder)
        return
    outer = around(folder)
    if outer and (subfolder or monorepo.is_member(folder)):
        for path in monorepo.join(folder):
            print(f"{path.relative_to(outer.resolve()).as_posix()} written")
        return
    if subfolder:
        raise GitError(f"{folder} is in no Git repository", "inv setup")
    if outer and not nested:
        raise GitError(
            f"{folder} is inside of the Git repository {outer}: to belong to it, as one of its"
            " folders: inv setup --subfolder; for a repository of its own all the same",
            "inv setup --nested",
        )
    # DVC reads neither repositories that hash by SHA-256, nor those that keep refs in a table.
    setting = ("-c", "init.defaultRefFormat=files")
    do(folder, "git", *setting, "init", "--quiet", "--initial-branch=main", "--object-format=sha1")


def around(folder: Path) -> Path | None:
    """Return the top of the repository that would track a folder; None where none would."""
    top = git.top(folder)
    if top is None or git.ask(top, "check-ignore", "--quiet", str(folder)) is not None:
        return None
    return top


def require(folder: Path) -> None:
    """Raise GitError where a project has no repository, or Git does not open it."""
    git.require(folder)
    if not (folder / ".git").exists() and not monorepo.is_member(folder):
        raise GitError("the project is not a Git repository yet", "inv setup")


def initialize(folder: Path) -> None:
    """Name the author, install the hooks, make the first commit.

    Raises:
        GitError: there is no first commit: a hook refused it.
    """
    set_author(folder)
    left_out = [install_hooks(folder)]
    do(folder, "nbdime", "config-git", "--enable")
    if git.head(folder) is None or (not monorepo.is_member(folder) and monorepo.prefix(folder)):
        left_out += commit(folder)
    for line in filter(None, left_out):
        print(line)


def set_author(folder: Path) -> None:
    """Where Git knows no name, commit under that of the project's author, in this folder only."""
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    for key in ("name", "email"):
        if not git.text(folder, "config", f"user.{key}"):
            do(folder, "git", "config", f"user.{key}", project["authors"][0][key])


def install_hooks(folder: Path) -> str:
    """Install the hooks where Git looks for them; return what to type where it looks elsewhere."""
    own, used = hook_folders(folder)
    if used != own:
        return (
            f"the project's hooks were not installed, because Git looks for hooks in {used}"
            " (core.hooksPath); to use the project's own in place of those:"
            f" git config core.hooksPath {shlex.quote(str(own))}, then inv setup"
        )
    # Hooks from outside of a container find its tools; those that it installs, none outside.
    if "UV_NO_SYNC" not in os.environ or not (own / "pre-commit").exists():
        # pre-commit installs nothing where core.hooksPath is set, not even to its own place.
        setting = {"COUNT": "1", "KEY_0": "core.hooksPath", "VALUE_0": ""}
        variables = {f"GIT_CONFIG_{name}": value for name, value in setting.items()}
        # In a subfolder it would take the configuration there, and run at the top.
        do(git.top(folder) or folder, "pre-commit", "install", variables=variables)
    return ""


def hook_folders(folder: Path) -> tuple[Path, Path]:
    """Return where the repository keeps hooks of its own, and where Git looks for hooks."""
    own = _path(folder, "--git-common-dir") / "hooks"
    return own.resolve(), _path(folder, "--git-path", "hooks").resolve()


def lacks_python(hook: Path) -> bool:
    """Whether the Python that a hook of pre-commit's names is gone."""
    match = re.search(r"^INSTALL_PYTHON=(.+)$", hook.read_text("utf-8"), re.MULTILINE)
    return match is not None and not Path(shlex.split(match[1])[0]).exists()


def commit(folder: Path) -> list[str]:
    """Commit everything; return a line for each thing that had to be left out.

    Raises:
        GitError: a hook refused the commit, and has said why.
    """
    paths = monorepo.at_top(folder)  # those of others in the repository are theirs
    do(folder, "git", "add", "--all", "--", ".", *paths)
    if hidden := git.hidden(folder):  # by a global gitignore
        do(folder, "git", "add", "--force", *hidden)
    reason = unsigned(folder)
    option = ["--no-gpg-sign"] if reason else []
    try:
        only = ["--", ".", *paths] if monorepo.prefix(folder) else []
        do(folder, "git", "commit", "--quiet", *option, "--message", MESSAGE, *only)
    except GitError:
        raise GitError(
            "there is no first commit, for the reason above; when that is settled",
            "git add --all, then git commit",
        ) from None
    if not reason:
        return []
    return [
        f"the first commit is not signed ({reason}); when there is a key:"
        " git commit --amend --no-edit --gpg-sign"
    ]


def unsigned(folder: Path) -> str:
    """Return why commits cannot be signed; "" where they can be, or need not be."""
    if git.text(folder, "config", "--type=bool", "commit.gpgSign") != "true":
        return ""
    tree = git.run(folder, "write-tree").decode().strip()
    try:
        git.run(folder, "commit-tree", "-S", "-m", "Can this be signed?", tree)
    except GitError as error:
        return str(error)
    return ""


def do(folder: Path, *command: str, variables: dict[str, str] | None = None) -> None:
    """Show a command, as tasks do, and run it.

    Raises:
        GitError: its exit code is not 0.
    """
    print(f"$ {shlex.join(command)}", flush=True)
    environment = {**os.environ, **(variables or {})}
    if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
        raise GitError(f"{shlex.join(command)} failed, see above")


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="repository", description=__doc__)
    actions = root.add_subparsers(dest="action", required=True)
    make_one = actions.add_parser("make", help="a repository, where there is none")
    make_one.add_argument("--nested", action="store_true", help="also inside of another one")
    make_one.add_argument("--subfolder", action="store_true", help="belong to the one around it")
    actions.add_parser("initialize", help="author, hooks, first commit")
    return root


def _path(folder: Path, *arguments: str) -> Path:
    printed = git.run(folder, "rev-parse", "--path-format=absolute", *arguments)
    return Path(os.fsdecode(printed).rstrip("\r\n"))


if __name__ == "__main__":
    main()
