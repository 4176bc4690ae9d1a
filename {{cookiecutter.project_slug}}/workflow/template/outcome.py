"""The messages of an update: conflicts, what stops it, the result, and what to type next."""

from ..conflicts import has_markers
from ..errors import enumerated
from . import owners, record, three_way
from .progress import Progress, Step
from .source import Source
from .three_way import Place

CONTINUE = "inv template.update --continue"
ABORT = "inv template.update --abort"
# While one of these has conflict markers, uv or inv does not start.
NEEDED_BY_INV = ("pyproject.toml", "tasks.py")
ABORT_WITHOUT_INV = "uv run --no-project python -m workflow.template.update --abort"


def shown(source: Source, commit: str) -> str:
    """Return how messages name a version: by its number where it has one, and its commit."""
    return " ".join(filter(None, [source.version(commit), f"({commit[:7]})"]))


def conflicts_message(place: Place, step: Step) -> str:
    """Return the message while files are in conflict; "" once none is."""
    paths = three_way.unmerged(place)
    for path in step.conflicts:
        file = place.top / path
        if path in paths or not file.is_file():
            continue
        if has_markers(file.read_text(encoding="utf-8", errors="replace")):
            paths.append(path)
    if not paths:
        return ""
    stops_inv = any(f"{place.prefix}{name}" in paths for name in NEEDED_BY_INV)
    return "\n".join(
        [
            f"in conflict ({len(paths)}), changed both here and by the template:",
            *(f"    {path}" for path in paths),
            "next: edit each, remove the conflict markers, and git add it;",
            f"      then {CONTINUE}, or {ABORT_WITHOUT_INV if stops_inv else ABORT}",
        ]
    )


def edited_message(edited: list[str]) -> str:
    return "\n".join(
        [
            "nothing was updated: these managed files were edited here:",
            *(f"    {path}" for path in edited),
            "keep an edit: inv template.eject PATH, then commit: updates leave PATH alone",
            "drop it:      inv template.update --drop PATH, also a folder",
        ]
    )


def print_outcome(place: Place, state: Progress, passed: bool) -> None:
    """Print what an update has changed, by owner, and what comes next."""
    skip = record.read(place.folder).skip
    names = ("diff", "--name-only", "--no-renames", "-z", state.commit, "HEAD", "--")
    listed = place.git(*names, place.prefix or ".").split("\0")
    by_owner: dict[str, list[str]] = {}
    for path in filter(None, listed):
        path = path.removeprefix(place.prefix)
        by_owner.setdefault(owners.owner(path, skip), []).append(path)
    count = sum(map(len, by_owner.values()))
    print(f"{state.branch}: {count} files changed")
    for who in ("managed", "merged", "built"):
        if who in by_owner:
            print(f"  {who:8} {len(by_owner[who])}: {enumerated(by_owner[who])}")
    for line in state.notes:
        print(f"  {line}")
    start = state.start or state.commit[:7]
    switch = f"git switch {start}" if state.start else f"git switch --detach {start}"
    if passed:
        print(f"next: git diff {start}..., {switch} && git merge {state.branch}")
    else:
        print(f"inv check or inv test failed: fix it here and commit, then {CONTINUE}; or {ABORT}")
