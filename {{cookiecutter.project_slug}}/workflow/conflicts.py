"""What a merge could not settle: which files, and how to get each of them right.

Of what the pipeline writes, Git keeps one side whole (`-merge` in .gitattributes): a training makes
it again. What people write has to be settled first.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from . import git
from .errors import CommandError
from .git import GitError
from .paths import BUILT

BEGIN, END = "<<<<<<< ", ">>>>>>> "  # of the lines that Git writes around the two sides


@dataclass(frozen=True)
class Conflict:
    """Files that a merge could not settle.

    Args:
        paths: from the project's folder, with forward slashes.
        detail: what is wrong with them.
        fix: what to type.
        blocks: whether the pipeline cannot run: not where it only makes these files again.
    """

    paths: tuple[str, ...]
    detail: str
    fix: str
    blocks: bool = True

    def __str__(self) -> str:
        return f"{self.detail}: {self.fix}"


def find(folder: Path = Path()) -> list[Conflict]:
    """Return what is in conflict in a project's folder; nothing without Git."""
    either = ("-e", f"^{BEGIN}", "--or", "-e", f"^{END}")
    marked = _names(folder, "grep", "-z", "--name-only", "--untracked", "--all-match", *either)
    unmerged = _unmerged(folder)
    mixed = [path for path in marked if path in unmerged and is_built(path)]
    one_sided = [path for path in unmerged if path not in marked and is_built(path)]
    conflicts = [_marked(path, folder) for path in marked if path not in mixed]
    conflicts += [
        _undecided(path) for path in unmerged if path not in marked and not is_built(path)
    ]
    if mixed:
        verb = "have" if mixed[1:] else "has"
        names = shlex.join(mixed)
        fix = f"git checkout --ours {names} && inv train && git add {names}"
        conflicts.append(Conflict(tuple(mixed), f"{', '.join(mixed)} {verb} conflict markers", fix))
    if one_sided:
        detail = f"{', '.join(one_sided)} {'are' if one_sided[1:] else 'is'} of one side of a merge"
        conflicts.append(
            Conflict(tuple(one_sided), detail, f"inv train, then {finish(folder)}", False)
        )
    return conflicts


def require_settled(folder: Path = Path()) -> None:
    """Raise CommandError where files are in conflict that a training does not make again."""
    for conflict in find(folder):
        if conflict.blocks:
            raise CommandError(str(conflict))


def require_merged(folder: Path = Path()) -> None:
    """Raise CommandError where anything is in conflict: DVC cannot stash such a folder."""
    for conflict in find(folder):  # what blocks a training comes first
        raise CommandError(str(conflict))


def is_built(path: str) -> bool:
    """Whether the pipeline writes a file, by its path from the project's folder."""
    return any(f"{path}/".startswith(f"{built.as_posix()}/") for built in BUILT)


def has_markers(text: str) -> bool:
    """Whether a file has lines as Git writes them around both sides of a conflict."""
    lines = text.splitlines()
    return all(any(line.startswith(mark) for line in lines) for mark in (BEGIN, END))


def finish(folder: Path = Path()) -> str:
    """Return what ends the merge that Git waits for; "" where it waits for none."""
    git_dir = _text(folder, "rev-parse", "--absolute-git-dir").strip()
    command = git.under_way(Path(git_dir)) if git_dir else ""
    if command and command != "bisect":
        return f"git add --all && git {'commit' if command == 'merge' else f'{command} --continue'}"
    return "git add --all" if _unmerged(folder) else ""  # of `git stash pop`


def _marked(path: str, folder: Path) -> Conflict:
    return Conflict((path,), f"{path} has conflict markers", _fix(path, folder))


def _undecided(path: str) -> Conflict:
    """Describe a file without markers: removed on one side, or edited and not yet added."""
    quoted = shlex.quote(path)
    fix = f"git add {quoted} when it is right, or git rm {quoted}"
    return Conflict((path,), f"{path} is in conflict", fix)


def _fix(path: str, folder: Path) -> str:
    side, add = _one_side(path, folder)
    name = Path(path).name
    if side and is_built(path):
        return f"{side} && inv train"  # the pipeline writes them: either side is a start
    if side and name == "uv.lock":
        return f"{side} && uv lock{add}"
    if side and name.endswith(".dvc"):
        return f"{side}{add} && inv data.pull"
    quoted = shlex.quote(path)
    return f"edit {quoted}, without the lines of the markers, then git add {quoted}"


def _one_side(path: str, folder: Path) -> tuple[str, str]:
    """Return the command that restores one side of a file, or "", and what follows at the end."""
    quoted = shlex.quote(path)
    if _text(folder, "ls-files", "--unmerged", "--", path):
        return f"git checkout --ours {quoted}", f" && git add {quoted}"
    # Somebody has committed the markers.
    for commit in _text(folder, "log", "--max-count=50", "--format=%h", "--", path).split():
        text = _text(folder, "show", f"{commit}:./{path}")
        if text and not has_markers(text):
            return f"git checkout {commit} -- {quoted}", ""
    return "", ""


def _unmerged(folder: Path) -> list[str]:
    """Return the files of which Git's index has both sides."""
    entries = _names(folder, "ls-files", "-z", "--unmerged")
    return list(dict.fromkeys(entry.partition("\t")[2] for entry in entries))  # before it: which


def _names(folder: Path, *arguments: str) -> list[str]:
    return [name for name in _text(folder, *arguments).split("\0") if name]


def _text(folder: Path, *arguments: str) -> str:
    try:
        return (git.ask(folder, *arguments) or b"").decode(errors="replace")
    except GitError:  # there is none, or it does not open the folder: another check says so
        return ""
