"""The uncommitted changes of a work tree, as one patch: untracked files included.

W&B's own diff.patch lacks untracked files and what is in binary ones, and of a notebook it holds
what nbdime prints for people, which nothing can apply. Files with secrets in them are left out.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from .. import credentials, git
from ..errors import CommandError
from ..git import GitError
from . import provenance

FILE = "code.patch"  # what it is called among the files of a run
LIMIT = 32 * 2**20  # bytes of untracked files, together

# A patch for `git apply`, whatever the user's own settings make of a diff.
DIFF = (
    *("-c", "core.quotePath=true", "diff", "--cached", "--binary", "--full-index"),
    *("--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--submodule=short"),
    *("--ignore-submodules=dirty", "--no-relative", "--src-prefix=a/", "--dst-prefix=b/"),
)


@dataclass(frozen=True)
class Changes:
    """What a work tree has beyond its commit.

    Args:
        patch: for `git apply` at the top of the repository; empty where nothing was changed.
        left_out: path to why it is not in it: untracked files that are too large, nested
            repositories, files with secrets in them.
    """

    patch: bytes
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def sha256(self) -> str | None:
        return provenance.sha256(self.patch) if self.patch else None


def take(folder: Path = Path(), limit: int = LIMIT, without: Iterable[Path] = ()) -> Changes:
    """Return the changes in `folder` against HEAD of its repository; ignored files never.

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
    untracked, left_out = _untracked(folder, top, limit)
    prefix = git.run(folder, "rev-parse", "--show-prefix").decode().strip()
    excluded = [f":(top,exclude,literal){prefix}{path.as_posix()}" for path in without]
    with TemporaryDirectory() as temporary:
        index, objects = Path(temporary, "index"), Path(temporary, "objects")
        objects.mkdir()
        own_index, own_objects = (_git_path(folder, name) for name in ("index", "objects"))
        if own_index.exists():
            shutil.copy2(own_index, index)  # what it knows of unchanged files saves reading them
        alternates = os.environ.get("GIT_ALTERNATE_OBJECT_DIRECTORIES")
        variables = {
            "GIT_INDEX_FILE": str(index),
            "GIT_OBJECT_DIRECTORY": str(objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.pathsep.join(
                [str(own_objects), *([alternates] if alternates else [])]
            ),
        }
        git.run(folder, "add", "--update", "--", ".", variables=variables)
        if untracked:
            _of_files(top, ["add"], untracked, variables)
        if secrets := dict(_secrets(folder, excluded, variables)):
            _of_files(top, ["reset", "--quiet"], secrets, variables)
        patch = git.run(folder, *DIFF, "HEAD", "--", ".", *excluded, variables=variables)
    return Changes(patch, dict(sorted({**left_out, **secrets}.items())))


def apply(patch: bytes, top: Path) -> None:
    """Make the changes of a patch in the work tree at `top`.

    Raises:
        CommandError: it does not fit; nothing was changed.
    """
    try:
        git.run(top, "apply", "--whitespace=nowarn", "-", content=patch)
    except GitError as error:
        raise CommandError(str(error)) from None


def files(patch: bytes) -> list[str]:
    """Return the paths that a patch changes, as Git writes them."""
    paths = []
    for line in patch.splitlines():
        if line.startswith(b"diff --git "):
            # Without renames both names are the same, so each is half of what follows.
            names = line.removeprefix(b"diff --git ")
            name = names[: len(names) // 2].strip(b'"').removeprefix(b"a/")
            paths.append(name.decode(errors="replace"))
    return paths


def _of_files(
    top: Path, command: list[str], names: Iterable[str], variables: dict[str, str]
) -> None:
    """Run a command of Git on files, however many there are and whatever they are called."""
    paths = ("--pathspec-from-file=-", "--pathspec-file-nul")
    content = b"\0".join(map(os.fsencode, names))
    git.run(top, "--literal-pathspecs", *command, *paths, content=content, variables=variables)


def _untracked(folder: Path, top: Path, limit: int) -> tuple[list[str], dict[str, str]]:
    """Return the untracked files within the limit, and why the others are not among them."""
    options = ("--others", "--exclude-standard", "--full-name", "-z", "--", ".")
    listed = git.run(folder, "ls-files", *options).split(b"\0")
    names = [os.fsdecode(name) for name in listed if name]
    left_out = {name: "a repository of its own" for name in names if name.endswith("/")}
    small: list[str] = []
    for name in sorted(set(names) - set(left_out), key=lambda name: (top / name).lstat().st_size):
        limit -= (top / name).lstat().st_size
        if limit >= 0:
            small.append(name)
        else:
            left_out[name] = "too large"
    return sorted(small), left_out


def _secrets(
    folder: Path, excluded: list[str], variables: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield the changed files that would put a secret into the patch, and what is in them."""
    names = ("diff", "--cached", "--raw", "--no-abbrev", "-z", "--no-renames")
    listed = git.run(folder, *names, "HEAD", "--", ".", *excluded, variables=variables)
    fields = listed.split(b"\0")
    changed = [
        (os.fsdecode(name), entry.decode().split())
        for entry, name in zip(fields[::2], fields[1::2], strict=False)
    ]
    blobs = _blobs(folder, {sha for _, entry in changed for sha in entry[2:4]}, variables)
    for name, (_, _, before, after, _) in changed:
        secrets = [
            secret
            for sha in (after, before)
            if sha in blobs
            for secret in credentials.find(name, blobs[sha])
        ]
        if not secrets:
            continue
        patch = git.run(folder, *DIFF, "HEAD", "--", f":(top,literal){name}", variables=variables)
        for secret in secrets:
            if b"\nGIT binary patch\n" in patch or secret.value.encode() in patch:
                yield name, str(secret)
                break


def _blobs(folder: Path, names: set[str], variables: dict[str, str]) -> dict[str, bytes]:
    """Return the contents of those objects that are files."""
    request = "".join(f"{name}\n" for name in sorted(names)).encode()
    printed = git.run(folder, "cat-file", "--batch", content=request, variables=variables)
    contents, start = {}, 0
    while start < len(printed):
        end = printed.index(b"\n", start)
        name, *about = printed[start:end].decode().split()
        start = end + 1
        if about[0] != "missing":
            size = int(about[1])
            if about[0] == "blob":
                contents[name] = printed[start : start + size]
            start += size + 1
    return contents


def _git_path(folder: Path, name: str) -> Path:
    arguments = ("rev-parse", "--path-format=absolute", "--git-path", name)
    return Path(os.fsdecode(git.run(folder, *arguments)).rstrip("\r\n"))
