"""What an update says: its conflicts, what stops it, what came out, and what to type next."""

from ..conflicts import has_markers
from ..errors import enumerated
from . import owners, record, three_way
from .progress import Progress, Step
from .source import Source
from .three_way import Place

CONTINUE = "inv template.update --continue"
ABORT = "inv template.update --abort"


def shown(source: Source, commit: str) -> str:
    """Return how messages name a version: by its number where it has one, and its commit."""
    return " ".join(filter(None, [source.version(commit), f"({commit[:7]})"]))


def told_of_conflicts(place: Place, step: Step) -> str:
    """Return what to say while files are in conflict; "" once they are not."""
    left = three_way.unmerged(place)
    for path in step.conflicts:
        file = place.top / path
        if path in left or not file.is_file():
            continue
        if has_markers(file.read_text(encoding="utf-8", errors="replace")):
            left.append(path)
    if not left:
        return ""
    return "\n".join(
        [
            f"in conflict ({len(left)}), changed both here and by the template:",
            *(f"    {path}" for path in left),
            "next: edit each, keep what is right, without the lines of the markers; then"
            " git add it,",
            f"      and {CONTINUE}; or {ABORT}",
        ]
    )


def said_of_edited(edited: list[str]) -> str:
    return "\n".join(
        [
            "nothing was updated: these files are the template's, and were edited here:",
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
    changed: dict[str, list[str]] = {}
    for path in filter(None, listed):
        path = path.removeprefix(place.prefix)
        changed.setdefault(owners.owner(path, skip), []).append(path)
    count = sum(map(len, changed.values()))
    print(f"{state.branch}: {count} files changed")
    for who in ("managed", "merged", "built"):
        if who in changed:
            print(f"  {who:8} {len(changed[who])}: {enumerated(changed[who])}")
    for line in state.notes:
        print(f"  {line}")
    start = state.start or state.commit[:7]
    if passed:
        print(f"next: git diff {start}..., git switch {start} && git merge {state.branch}")
    else:
        print(f"inv check or inv test failed: fix it here and commit, then {CONTINUE}; or {ABORT}")
