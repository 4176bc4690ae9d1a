"""Merge the changes between two versions of a folder into a repository, by Git itself.

The step from the old version to the new one becomes a commit that no branch has, and Git
cherry-picks it: a three-way merge whose base is the old version. So a conflict is Git's own, with
all that Git offers for it. What the repository has deleted stays deleted.

    place = at(project)
    conflicts = merge(place, tree_of(place, old), tree_of(place, new), "Update to 3.2.0")

Hooks, merge drivers, signing and other settings of Git do not affect the result.
"""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .. import git
from ..errors import CommandError, enumerated
from ..git import GitError

# Of each path, from the folder that is merged: mode and object, as `git update-index` takes them.
Tree = dict[str, str]

# In place of settings of the user that would change the result, or start other programs.
SETTINGS = {
    "commit.gpgSign": "false",
    "core.editor": "true",
    "core.hooksPath": os.devnull,
    "core.safecrlf": "false",
    "merge.conflictStyle": "merge",
    "merge.default": "text",
    "merge.directoryRenames": "false",  # a file of the project's own stays where it is
    "merge.renameLimit": "10000",
    "merge.renames": "true",
    "merge.renormalize": "false",
    "rerere.enabled": "false",
}
# In place of each merge driver of the project or the user: Git's merge of lines.
BY_LINES = "git merge-file --marker-size=%L -L HEAD -L old -L template %A %O %B"
SIMILAR = "-M40%"  # the part of its lines from which a file counts as moved, not as deleted
CRLF = "i/crlf"


@dataclass(frozen=True)
class Place:
    """A folder in a Git repository.

    Args:
        top: of the repository.
        prefix: the folder from there, with a slash at its end; "" for the top itself.
        git_dir: where Git keeps the state of this work tree.
    """

    top: Path
    prefix: str
    git_dir: Path

    @property
    def folder(self) -> Path:
        """The folder itself."""
        return self.top / self.prefix

    def git(
        self, *arguments: str, content: bytes = b"", variables: dict[str, str] | None = None
    ) -> str:
        """Run Git at the repository's top, whatever the user's settings; return what it printed.

        Raises:
            GitError: it failed.
        """
        settings = [word for name in SETTINGS.items() for word in ("-c", "=".join(name))]
        command = (*settings, *arguments)
        printed = git.run(self.top, *command, content=content, variables=variables, elsewhere=True)
        return os.fsdecode(printed)

    def head(self) -> str:
        """Return the current commit."""
        return self.git("rev-parse", "HEAD").strip()

    def branch(self) -> str:
        """Return the branch that is checked out; "" where HEAD is detached."""
        try:
            return self.git("symbolic-ref", "--quiet", "--short", "HEAD").strip()
        except GitError:
            return ""

    def commit(self, name: str) -> str | None:
        """Return the commit of a name; None where there is none."""
        try:
            return self.git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()
        except GitError:
            return None


def at(folder: Path) -> Place:
    """Return the place of a folder in the repository around it.

    Raises:
        CommandError: there is no repository.
        GitError: Git does not open it.
    """
    try:
        arguments = ("rev-parse", "--show-toplevel", "--absolute-git-dir", "--show-prefix")
        printed = os.fsdecode(git.run(folder, *arguments, elsewhere=True))
    except GitError:
        if git.top(folder) is not None:
            raise
        raise CommandError(f"{folder} is not in a Git repository: inv setup") from None
    top, git_dir, prefix, *_ = [*printed.split("\n"), ""]
    return Place(Path(top), prefix, Path(git_dir))


def tree_at(place: Place, commit: str) -> Tree:
    """Return the files that a commit has in the folder."""
    listed = place.git("ls-tree", "-r", "-z", "--full-tree", commit)
    tree = {}
    for line in filter(None, listed.split("\0")):
        described, _, path = line.partition("\t")
        mode, _, name = described.split()
        if path.startswith(place.prefix):
            tree[path.removeprefix(place.prefix)] = f"{mode} {name}"
    return tree


def tree_of(place: Place, folder: Path) -> Tree:
    """Write the files of a folder, wherever it is, into Git's store, and return their tree.

    A file that the repository has with CRLF as line endings gets them, too.
    """
    windows = _with_crlf(place)
    paths = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if (path.is_symlink() or path.is_file()) and name.partition("/")[0] != ".git":
            paths[name] = path
    links = {name for name, path in paths.items() if path.is_symlink()}
    with tempfile.TemporaryDirectory() as temporary:
        contents = {name: path for name, path in paths.items() if name not in links}
        for number, name in enumerate(windows & contents.keys()):
            content = contents[name].read_bytes()
            if b"\0" not in content and b"\r\n" not in content:
                converted = Path(temporary) / str(number)
                converted.write_bytes(content.replace(b"\n", b"\r\n"))
                contents[name] = converted
        listed = "".join(f"{path.resolve()}\n" for path in contents.values())
        hashing = ("hash-object", "-w", "--no-filters")
        hashed = place.git(*hashing, "--stdin-paths", content=os.fsencode(listed)).split()
    tree = {}
    for name, blob in zip(contents, hashed, strict=True):
        mode = "100755" if paths[name].stat().st_mode & 0o100 else "100644"
        tree[name] = f"{mode} {blob}"
    for name in links:
        target = os.fsencode(paths[name].readlink())
        tree[name] = f"120000 {place.git(*hashing, '--stdin', content=target).strip()}"
    return tree


def content(place: Place, tree: Tree, path: str) -> bytes | None:
    """Return the content of a file in a tree; None where it is not there."""
    entry = tree.get(path)
    return None if entry is None else os.fsencode(place.git("cat-file", "blob", entry.split()[1]))


def with_content(place: Place, tree: Tree, path: str, content: bytes) -> Tree:
    """Return the tree with another content of a file."""
    blob = place.git("hash-object", "-w", "--stdin", "--no-filters", content=content).strip()
    return {**tree, path: f"100644 {blob}"}


def without_deleted(place: Place, base: Tree, theirs: Tree) -> tuple[Tree, Tree, set[str]]:
    """Leave out of both versions what HEAD has deleted.

    Returns:
        Both trees, and the paths of `theirs` that are left out: files that HEAD deleted, or whose
        old name it deleted, and files in a folder of the old version of which HEAD has nothing.
    """
    head = tree_at(place, "HEAD")
    old, new = write(place, base, alone=True), write(place, theirs, alone=True)
    deleted = {name for (name,) in _differences(place, old, write(place, head, alone=True), "D")}
    folders = {
        folder
        for path in deleted
        for folder in _folders(path)
        if not any(mine.startswith(folder) for mine in head)
        and all(was in deleted for was in base if was.startswith(folder))
    }
    moves = _differences(place, old, new, "R")
    renamed = {name for old_name, name in moves if old_name in deleted}
    left_out = {
        path
        for path in theirs
        if path in deleted | renamed or any(path.startswith(folder) for folder in folders)
    } - head.keys()
    drop = deleted | left_out
    return _without(base, drop), _without(theirs, drop), left_out


def renames(place: Place, old: Tree, new: Tree) -> dict[str, str]:
    """Return the new name of each file that moved between two trees, by its old one."""
    before, after = (write(place, tree, alone=True) for tree in (old, new))
    return {pair[0]: pair[1] for pair in _differences(place, before, after, "R")}


def merge(place: Place, base: Tree, theirs: Tree, message: str) -> list[str]:
    """Merge the step from `base` to `theirs` into HEAD, as one commit.

    Returns:
        The paths in conflict, from the repository's top. Where there are any, there is no commit
        yet: Git is in the middle of a cherry-pick.

    Raises:
        CommandError: files that Git does not know are in the way; nothing was touched.
        GitError: Git refused, and nothing was touched.
    """
    base, theirs, _ = without_deleted(place, base, theirs)
    if base == theirs:
        return []
    require_free(place, theirs)
    old = place.git("commit-tree", write(place, base), "-m", "Before the update").strip()
    new = place.git("commit-tree", write(place, theirs), "-p", old, "-m", message).strip()
    try:
        place.git(*_drivers(place), "cherry-pick", "--keep-redundant-commits", new)
    except GitError:
        if place.commit("CHERRY_PICK_HEAD") != new:
            raise
    return unmerged(place)


def require_free(place: Place, theirs: Tree) -> None:
    """Check that each new file's place is free: Git itself would replace a file that it ignores.

    Raises:
        CommandError: one is not; the text names them.
    """
    head = tree_at(place, "HEAD")
    files = [path for path in theirs if path not in head and os.path.lexists(place.folder / path)]
    if files:
        raise CommandError(
            "files that Git does not track are where new ones would be:"
            f" {enumerated(files, 5)}: move them away, or commit them"
        )


def unmerged(place: Place) -> list[str]:
    """Return the paths in conflict, from the repository's top."""
    listed = place.git("diff", "--name-only", "--diff-filter=U", "-z")
    return sorted(set(filter(None, listed.split("\0"))))


def write(place: Place, tree: Tree, alone: bool = False) -> str:
    """Write a tree into Git's store, and return its id.

    Args:
        alone: only the folder, as if it were the repository's top; else with all that HEAD has
            around it.
    """
    if not alone:
        around = tree_at(Place(place.top, "", place.git_dir), "HEAD") if place.prefix else {}
        inside = {f"{place.prefix}{path}": entry for path, entry in tree.items()}
        tree = {k: v for k, v in around.items() if not k.startswith(place.prefix)} | inside
    lines = "".join(f"{entry}\t{path}\0" for path, entry in tree.items())
    with tempfile.TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        update = ("update-index", "-z", "--index-info")
        place.git(*update, content=os.fsencode(lines), variables=index)
        return place.git("write-tree", "--missing-ok", variables=index).strip()


def _differences(place: Place, old: str, new: str, kind: str) -> list[tuple[str, ...]]:
    """Return the names in which two trees differ; kind `D`: deleted, `R`: renamed, both names."""
    options = ("-r", SIMILAR, "-l10000", "-z", "--no-ext-diff", f"--diff-filter={kind}")
    printed = place.git("diff-tree", *options, "--name-status", old, new).split("\0")[:-1]
    size = {"D": 2, "R": 3}[kind]  # the kind, and the names
    return [tuple(printed[start + 1 : start + size]) for start in range(0, len(printed), size)]


def _with_crlf(place: Place) -> set[str]:
    """Return the files of the folder that Git keeps with CRLF as line endings."""
    listed = place.git("--literal-pathspecs", "ls-files", "--eol", "-z", "--", place.prefix or ".")
    paths = set()
    for line in filter(None, listed.split("\0")):
        described, _, path = line.partition("\t")
        if described.split()[0] == CRLF:
            paths.add(path.removeprefix(place.prefix))
    return paths


def _drivers(place: Place) -> list[str]:
    """Return settings by which each merge driver that Git knows merges lines."""
    try:
        pattern = ("--null", "--name-only", "--get-regexp", r"^merge\..*\.driver$")
        names = place.git("config", *pattern).split("\0")
    except GitError:  # there is none
        return []
    drivers = sorted(set(filter(None, names)))
    return [word for name in drivers for word in ("-c", f"{name}={BY_LINES}")]


def _folders(path: str) -> list[str]:
    return [f"{folder}/" for folder in PurePosixPath(path).parents if str(folder) != "."]


def _without(tree: Tree, paths: Iterable[str]) -> Tree:
    dropped = set(paths)
    return {path: entry for path, entry in tree.items() if path not in dropped}
