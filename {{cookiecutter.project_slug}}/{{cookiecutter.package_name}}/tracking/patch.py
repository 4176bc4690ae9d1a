"""The changes of a work tree that no commit has, as one patch: untracked files included.

W&B's own diff.patch lacks untracked files and what is in binary ones, and of a notebook it holds
what nbdime prints for people, which nothing can apply.
"""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from .. import git
from ..git import GitError
from . import provenance

FILE = "code.patch"  # what it is called among the files of a run
LIMIT = 32 * 2**20  # bytes of untracked files, together

# A patch for `git apply`, whatever the user's own settings make of a diff.
DIFF = (
    *("-c", "core.quotePath=true", "diff", "--cached", "--binary", "--full-index"),
    *("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--submodule=short"),
    *("--ignore-submodules=dirty", "--src-prefix=a/", "--dst-prefix=b/"),
)


class PatchError(Exception):
    """Git refuses a patch; the text says why, in one line."""


@dataclass(frozen=True)
class Changes:
    """What a work tree has beyond its commit.

    Args:
        patch: for `git apply` at the top of the repository; empty where nothing was changed.
        left_out: untracked files and nested repositories that are not in it.
    """

    patch: bytes
    left_out: tuple[str, ...] = ()

    @property
    def sha256(self) -> str | None:
        return provenance.sha256(self.patch) if self.patch else None


def take(folder: Path = Path(), limit: int = LIMIT, without: Iterable[Path] = ()) -> Changes:
    """Return the changes against HEAD of the repository around `folder`; ignored files never.

    Neither the index nor the objects of the repository are touched.

    Args:
        limit: bytes of untracked files; the largest are left out first.
        without: paths in `folder` that do not count.

    Raises:
        GitError: there is a repository, and Git cannot be asked.
    """
    top = git.top(folder)
    if top is None or git.head(folder) is None:
        return Changes(b"")
    kept, left_out = _untracked(top, limit)
    prefix = git.run(folder, "rev-parse", "--show-prefix").decode().strip()
    excluded = [f":(top,exclude,literal){prefix}{path.as_posix()}" for path in without]
    with TemporaryDirectory() as temporary:
        index, objects = Path(temporary, "index"), Path(temporary, "objects")
        objects.mkdir()
        own_index, own_objects = (_git_path(folder, name) for name in ("index", "objects"))
        if own_index.exists():
            shutil.copy2(own_index, index)  # what it knows of unchanged files saves reading them
        others = os.environ.get("GIT_ALTERNATE_OBJECT_DIRECTORIES")
        variables = {
            "GIT_INDEX_FILE": str(index),
            "GIT_OBJECT_DIRECTORY": str(objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.pathsep.join(
                [str(own_objects), *([others] if others else [])]
            ),
        }
        git.run(top, "add", "--update", variables=variables)
        if kept:
            names = b"\0".join(map(os.fsencode, kept))
            arguments = ("add", "--pathspec-from-file=-", "--pathspec-file-nul")
            git.run(top, "--literal-pathspecs", *arguments, content=names, variables=variables)
        patch = git.run(top, *DIFF, "HEAD", "--", ".", *excluded, variables=variables)
    return Changes(patch, left_out)


def apply(patch: bytes, top: Path) -> None:
    """Make the changes of a patch in the work tree at `top`.

    Raises:
        PatchError: it does not fit; nothing was changed.
    """
    try:
        git.run(top, "apply", "--whitespace=nowarn", "-", content=patch)
    except GitError as error:
        raise PatchError(str(error)) from None


def files(patch: bytes) -> list[str]:
    """Return the paths that a patch changes, as Git writes them."""
    found = []
    for line in patch.splitlines():
        if line.startswith(b"diff --git "):
            # Without renames both names are the same, so each is half of what follows.
            names = line.removeprefix(b"diff --git ")
            name = names[: len(names) // 2].strip(b'"').removeprefix(b"a/")
            found.append(name.decode(errors="replace"))
    return found


def _untracked(top: Path, limit: int) -> tuple[list[str], tuple[str, ...]]:
    """Return the untracked files within the limit, and the others."""
    listed = git.run(top, "ls-files", "--others", "--exclude-standard", "-z").split(b"\0")
    names = [os.fsdecode(name) for name in listed if name]
    left_out = [name for name in names if name.endswith("/")]  # a repository of its own
    kept: list[str] = []
    for name in sorted(set(names) - set(left_out), key=lambda name: (top / name).lstat().st_size):
        limit -= (top / name).lstat().st_size
        (kept if limit >= 0 else left_out).append(name)
    return sorted(kept), tuple(sorted(left_out))


def _git_path(folder: Path, name: str) -> Path:
    arguments = ("rev-parse", "--path-format=absolute", "--git-path", name)
    return Path(os.fsdecode(git.run(folder, *arguments)).rstrip("\r\n"))
