"""Files in which a merge left its markers, and how to get each of them right."""

from dataclasses import dataclass
from pathlib import Path

from . import git
from .git import GitError

BEGIN, END = "<<<<<<< ", ">>>>>>> "  # of the lines that Git writes around the two sides


@dataclass(frozen=True)
class Conflict:
    """A file with both sides of a merge in it.

    Args:
        path: from the current folder, with forward slashes.
        fix: what to type.
    """

    path: str
    fix: str


def find() -> list[Conflict]:
    """Return the files of the current folder that have conflict markers; none without Git."""
    either = ("-e", f"^{BEGIN}", "--or", "-e", f"^{END}")
    found = _git("grep", "-z", "--name-only", "--untracked", "--all-match", *either)
    return [Conflict(path, _fix(path)) for path in found.split("\0") if path]


def _fix(path: str) -> str:
    side = _one_side(path)
    name = Path(path).name
    if side and name in ("dvc.lock", "params.yaml"):
        return f"{side} && inv train"  # the pipeline writes them: either side is a start
    if side and name == "uv.lock":
        return f"{side} && uv lock"
    if side and name.endswith(".dvc"):
        return f"{side} && inv data.pull"
    return f"edit {path}: keep one side, without the lines of the markers"


def _one_side(path: str) -> str:
    """Return the command that restores one side of the file, or "" where there is none."""
    if _git("ls-files", "--unmerged", "--", path):
        return f"git checkout --ours {path}"
    # Somebody has committed the markers.
    for commit in _git("log", "--max-count=50", "--format=%h", "--", path).split():
        text = _git("show", f"{commit}:./{path}")
        if text and not any(line.startswith((BEGIN, END)) for line in text.splitlines()):
            return f"git checkout {commit} -- {path}"
    return ""


def _git(*arguments: str) -> str:
    try:
        return (git.ask(Path(), *arguments) or b"").decode(errors="replace")
    except GitError:  # there is none, or it does not open the folder: another check says so
        return ""
