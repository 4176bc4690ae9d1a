"""A fork's files: upstream's with the team's layer laid over them, and committed.

    start(root, url)       team/ is written, laid and committed
    lay_again(root)        after an edit in team/
    follow(root)           a newer upstream is merged
    stale(root)            what `inv check` looks at

team/upstream.json has upstream's URL and commit; team/laid.json the files in which the layer
differs from that commit, each with the Git object that was laid, so that an edit of such a file is
neither taken for the layer's nor lost.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from workflow import files, git
from workflow.errors import CommandError, one_line
from workflow.git import GitError
from workflow.template import three_way
from workflow.template.source import Source, open_source
from workflow.template.three_way import Place, Tree

from fork import layer
from fork.team import FILES, FOLDER, QUESTIONS, read

RECORD = f"{FOLDER}/upstream.json"
LAID = f"{FOLDER}/laid.json"
REMOTE = "upstream"
NEWEST = f"refs/remotes/{REMOTE}/newest"
LEFT_OUT = ""  # in laid.json, of a file that the layer takes away


@dataclass(frozen=True)
class Upstream:
    """Where the fork's template comes from."""

    url: str
    commit: str


@dataclass(frozen=True)
class Followed:
    """What a merge of upstream did.

    Args:
        old, new: upstream's commits.
        version: upstream's, as its cookiecutter.json says.
        conflicts: files in conflict; Git is in the middle of a cherry-pick.
        problems: what of team/ the new version has no place for.
    """

    old: str
    new: str
    version: str | None = None
    conflicts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def upstream(root: Path) -> Upstream:
    """Return what team/upstream.json says.

    Raises:
        CommandError: there is none, or it is no such file.
    """
    try:
        recorded = json.loads((root / RECORD).read_text("utf-8"))
        return Upstream(recorded["url"], recorded["commit"])
    except FileNotFoundError:
        raise CommandError(f"{RECORD} is missing: inv fork starts a fork") from None
    except (ValueError, KeyError, TypeError):
        raise CommandError(f'{RECORD}: must be {{"url": "…", "commit": "…"}}') from None


def start(root: Path, url: str, team: Mapping[str, str]) -> list[str]:
    """Begin a fork in a clone of upstream: write team/, name the remote, lay, commit.

    Args:
        team: the first files of team/, by their paths from there.

    Returns:
        The files that were laid.

    Raises:
        CommandError: there is a team/, the clone has changes, or upstream cannot be reached.
    """
    require_none(root)
    place = three_way.at(root)
    newest = fetch(root, url)
    commit = place.git("merge-base", "HEAD", newest).strip()
    try:
        for name, text in team.items():
            path = root / FOLDER / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        _write(root / RECORD, {"url": url, "commit": commit})
        laid = lay_again(root)
        try_out(root)
    except BaseException:
        place.git("restore", "--staged", "--worktree", ".")
        shutil.rmtree(root / FOLDER, ignore_errors=True)
        place.git("clean", "--quiet", "--force", "-d", layer.PROJECT)
        raise
    _name_remote(place, url)
    place.git("add", "--all", ".")
    place.git("commit", "--quiet", "--message", f"Fork of {url}")
    return laid


def lay_again(root: Path) -> list[str]:
    """Lay team/ over upstream's recorded commit; return the files that this changed.

    Whatever was laid before and is not in team/ any more is upstream's again. An edit by hand in a
    laid file stays, where team/ does not change the same lines.

    Raises:
        CommandError: something in team/ is wrong, or in conflict with an edit; nothing was written.
    """
    team = read(root)
    with _sides(root, upstream(root).commit, team) as (plain, laid, problems):
        if problems:
            raise CommandError("; ".join(problems))
        now = _differences(plain, laid)
        before = recorded(root)
        place = three_way.at(root)
        changed: dict[str, Path | bytes | None] = {}
        conflicts = []
        for name in sorted(now.keys() | before.keys()):
            new = laid.folder / name if name in laid.tree else None
            old = before.get(name, plain.tree.get(name, " ").split()[1:] or [LEFT_OUT])
            old = old if isinstance(old, str) else old[0]
            path = root / name
            merged = _merged(place, path, old, new)
            if merged is Left.CONFLICT:
                conflicts.append(name)
            elif not isinstance(merged, Left):
                changed[name] = merged
        if ignored := _ignored(place, now.keys() - plain.tree.keys()):
            raise CommandError(
                f"{FILES}/{ignored}: Git ignores it, there and in projects: put it elsewhere"
            )
        if conflicts:
            raise CommandError(
                f"edited by hand, where {FOLDER}/ changes the same lines: {', '.join(conflicts)}: "
                f"put the edit into {FOLDER}/, then git checkout those files"
            )
        for name, content in changed.items():
            path = root / name
            if content is None:
                path.unlink()
                _remove_empty(path.parent, root)
            elif isinstance(content, bytes):
                files.replace(path, content)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(content, path)
        _write(root / LAID, now)
    return sorted(changed)


def stale(root: Path) -> str | None:
    """Return in one line why the laid files are not what team/ says; None: they are."""
    if not (root / FOLDER).is_dir():
        return None
    team = read(root)
    with _sides(root, upstream(root).commit, team) as (plain, laid, problems):
        if problems:
            return "; ".join(problems)
        now, before = _differences(plain, laid), recorded(root)
        names = [name for name in now.keys() | before.keys() if now.get(name) != before.get(name)]
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{FOLDER}/ was edited and not laid: {min(names)}{more}: inv fork.lay"
    return None


def follow(root: Path, to: str = "") -> Followed:
    """Merge upstream's newest version, or another commit of it, into the fork.

    Raises:
        CommandError: there are changes, the layer is not laid, or upstream cannot be reached.
    """
    require_clean(root)
    if reason := stale(root):
        raise CommandError(reason)
    followed = upstream(root)
    newest = fetch(root, followed.url)
    place = three_way.at(root)
    new = place.commit(to) if to else newest
    if new is None:
        raise CommandError(f"upstream has no commit {to}")
    if new == followed.commit:
        return Followed(followed.commit, new)
    team = read(root)
    head = place.commit("HEAD")
    team_files = {
        k: v for k, v in three_way.tree_at(place, "HEAD").items() if k.startswith(f"{FOLDER}/")
    }
    with _sides(root, followed.commit, team) as (_, laid, _), _sides(root, new, team) as there:
        now, after, problems = there
        base = {**laid.tree, **team_files}
        theirs = {**after.tree, **team_files}
        for name, content in (
            (RECORD, {"url": followed.url, "commit": new}),
            (LAID, _differences(now, after)),
        ):
            theirs = three_way.with_content(place, theirs, name, _json(content).encode())
        with open_source(str(root)) as source:
            version = source.version(new)
        message = f"Upstream {version or ''} ({new[:10]})".replace("  ", " ")
        conflicts = three_way.merge(place, base, theirs, message)
    if not conflicts:
        # A merge, for Git too: who clones the fork has upstream's commit.
        tree = place.git("rev-parse", "HEAD^{tree}").strip()
        parents = ("-p", str(head), "-p", new)
        merge = place.git("commit-tree", tree, *parents, "-m", message).strip()
        place.git("update-ref", "-m", message, "HEAD", merge)
    return Followed(followed.commit, new, version, conflicts, problems)


def fetch(root: Path, url: str) -> str:
    """Fetch upstream's default branch; return its commit.

    Raises:
        CommandError: upstream cannot be reached.
    """
    place = three_way.at(root)
    try:
        place.git("fetch", "--quiet", "--no-tags", "--end-of-options", url, f"+HEAD:{NEWEST}")
    except GitError as error:
        raise CommandError(f"upstream cannot be reached: {one_line(error)}") from None
    return str(place.commit(NEWEST))


def address(root: Path) -> str:
    """Return the address that upstream is cloned from.

    Raises:
        CommandError: no remote has one.
    """
    place = three_way.at(root)
    remotes = place.git("remote").split()
    for name in (REMOTE, "origin"):
        if name in remotes:
            return place.git("remote", "get-url", name).strip()
    raise CommandError("no remote is upstream: inv fork --url ADDRESS")


def require_none(root: Path) -> None:
    """Check that a fork can start here.

    Raises:
        CommandError: there is a team/ already, or something is uncommitted.
    """
    if (root / FOLDER).exists():
        raise CommandError(f"{FOLDER}/ is there already: edit it, then inv fork.lay")
    require_clean(root)


def require_clean(root: Path) -> None:
    """Check that nothing is uncommitted.

    Raises:
        CommandError: something is.
    """
    changed = three_way.at(root).git("status", "--porcelain").splitlines()
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise CommandError(f"uncommitted: {changed[0][3:]}{more}: commit first")


def try_out(root: Path) -> None:
    """Generate a project from the fork, as its default answers have it.

    Raises:
        CommandError: the template's own checks refuse them, such as a fixed answer.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ("--no-input", "--default-config", f"--output-dir={folder}", str(root))
        result = subprocess.run(
            [sys.executable, "-m", "cookiecutter", *options],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
    if result.returncode:
        (line, *_) = [*result.stderr.strip().splitlines(), "no project can be generated"]
        raise CommandError(f"{QUESTIONS}: {line}")


def recorded(root: Path) -> dict[str, str]:
    """Return what was laid: of each file the Git object, or "" for one that was taken away."""
    path = root / LAID
    try:
        laid = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    except ValueError:
        raise CommandError(f"{LAID} is not JSON: git checkout {LAID}") from None
    return {str(name): str(object_id) for name, object_id in laid.items()}


@dataclass(frozen=True)
class Side:
    """Files in a folder, and the Git tree of them."""

    folder: Path
    tree: Tree


@contextmanager
def _sides(root: Path, commit: str, team: layer.Team) -> Iterator[tuple[Side, Side, list[str]]]:
    """Give upstream's files at a commit, the same with the layer, and what could not be laid."""
    place = three_way.at(root)
    with tempfile.TemporaryDirectory() as temporary:
        plain, laid = Path(temporary, "plain"), Path(temporary, "laid")
        with _source(root, commit) as source:
            source.archive(commit, plain)
        before = three_way.tree_at(place, commit)
        shutil.copytree(plain, laid, symlinks=True)
        problems = layer.lay(laid, team)
        yield Side(plain, before), Side(laid, three_way.tree_of(place, laid)), problems


@contextmanager
def _source(root: Path, commit: str) -> Iterator[Source]:
    """Open a repository that has upstream's commit: the fork itself, or upstream."""
    if three_way.at(root).commit(commit) is None:
        fetch(root, upstream(root).url)
    if three_way.at(root).commit(commit) is None:
        raise CommandError(f"{RECORD}: upstream has no commit {commit}")
    with open_source(str(root)) as source:
        yield source


def _differences(plain: Side, laid: Side) -> dict[str, str]:
    """Return the object of each file that the layer changes or adds; "" of one that it removes."""
    changed = {
        name: entry.split()[1] for name, entry in laid.tree.items() if plain.tree.get(name) != entry
    }
    removed = {name: LEFT_OUT for name in plain.tree if name not in laid.tree}
    return dict(sorted({**changed, **removed}.items()))


def _ignored(place: Place, names: Iterable[str]) -> str | None:
    """Return an added file that Git leaves out of the fork, by its name in a project."""
    try:
        options = ("check-ignore", "--no-index", "-z", "--stdin")
        printed = place.git(*options, content=os.fsencode("\0".join(sorted(names))))
    except GitError:  # none
        return None
    return printed.split("\0")[0].removeprefix(f"{layer.PROJECT}/")


class Left(Enum):
    """Why a file is not written."""

    THE_SAME = 1
    CONFLICT = 2


def _merged(place: Place, path: Path, old: str, new: Path | None) -> Path | bytes | Left | None:
    """Return what a file becomes: a copy of another, a content, None: it is removed.

    Args:
        old: the object that was laid there, or upstream's.
    """
    current = path.read_bytes() if path.is_file() else None
    laid = new.read_bytes() if new else None
    if current == laid:
        return Left.THE_SAME
    was = _blob(place, old)
    if current == was:
        return new
    if was == laid:
        return Left.THE_SAME
    if current is None or laid is None or was is None:
        return Left.CONFLICT
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("here", "was", "there")]
        for one, content in zip(paths, (current, was, laid), strict=True):
            one.write_bytes(content)
        try:
            return os.fsencode(place.git("merge-file", "--stdout", *map(str, paths)))
        except GitError:
            return Left.CONFLICT


def _blob(place: Place, name: str) -> bytes | None:
    if name == LEFT_OUT:
        return None
    try:
        return git.run(place.top, "cat-file", "blob", name)
    except GitError:
        return None


def _name_remote(place: Place, url: str) -> None:
    """Call upstream's address the remote `upstream`, also where a clone called it `origin`."""
    remotes = place.git("remote").split()
    if REMOTE in remotes:
        place.git("remote", "set-url", REMOTE, url)
        return
    for name in remotes:
        if place.git("remote", "get-url", name).strip() == url:
            place.git("remote", "rename", name, REMOTE)
            return
    place.git("remote", "add", REMOTE, url)


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _json(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, content: Mapping[str, object]) -> None:
    files.replace(path, _json(content))
