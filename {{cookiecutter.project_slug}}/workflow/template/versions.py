"""The two versions of a template that an update merges, with the answers of a project."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import CommandError
from . import migrations, owners, record, rendering, three_way
from .record import Record
from .source import Source
from .three_way import Place, Tree

# Versions that each project passes through: in 1.0.0 files moved and nothing else changed, so that
# Git follows them.
THROUGH = ("0.2.0", "1.0.0")


@dataclass(frozen=True)
class Versions:
    """The two versions that are merged, as trees.

    Args:
        base: the old one.
        theirs: the new one, with its record.
        edited: managed files that the project has edited.
        lock: uv.lock of the old version, as an entry of a tree; "" for none.
        notes: lines to print at the end.
    """

    base: Tree
    theirs: Tree
    edited: list[str]
    lock: str
    notes: list[str]


def way(source: Source, old: str, target: str) -> list[str]:
    """Return the commits that an update merges one after the other, the target last."""
    first_commits = source.versions()
    before, after = (migrations.number(source.version(commit)) for commit in (old, target))
    stops = [
        first_commits[name]
        for name in THROUGH
        if name in first_commits and before < migrations.number(name) < after
    ]
    return [*stops, target]


def prepare(
    place: Place,
    source: Source,
    recorded: Record,
    commit: str,
    given_answers: dict[str, str],
    drop: Sequence[str] = (),
) -> Versions:
    """Render the project's version and another one, and prepare both for the merge.

    Raises:
        CommandError: an answer is not possible there, or `drop` names no edited file.
    """
    mine = three_way.tree_at(place, "HEAD")
    skip = recorded.skip
    old = source.recorded(recorded)
    before = dict(recorded.answers)
    base, _ = rendered(place, source, old, before)
    if package := renamed_package(place, base, before.get("package_name", ""), mine):
        before["package_name"] = package
        base, _ = rendered(place, source, old, before)
    theirs, after = rendered(place, source, commit, {**before, **given_answers})
    new_record = replace(recorded, commit=commit, version=source.version(commit), answers=after)

    edited = [
        path
        for path, entry in base.items()
        if owners.owner(path, skip) == "managed" and is_other(mine.get(path), entry)
    ]
    dropped = {path for path in edited if owners.is_one_of(path, drop)}
    if unused := [name for name in drop if not any(owners.is_one_of(x, [name]) for x in edited)]:
        raise CommandError(f"--drop {unused[0]}: no managed file there is edited")
    lock = base.get(owners.LOCK, "")
    # Both versions without what is the project's; the project's own in place of what is replaced.
    base, theirs = (
        {path: entry for path, entry in tree.items() if owners.owner(path, skip) != "yours"}
        for tree in (base, theirs)
    )
    built = {path for path in mine if owners.owner(path, skip) == "built"}
    base |= {path: mine[path] for path in (built & theirs.keys()) | dropped | {record.FILE}}
    theirs = three_way.with_content(place, theirs, record.FILE, record.text(new_record).encode())
    notes = []
    if package:
        notes.append(f"the package was renamed to {package} here: the record has that name now")
    answered = {*before, *given_answers, *record.KEPT}
    new_questions = [f"{name}={value}" for name, value in after.items() if name not in answered]
    if new_questions:
        notes.append(f"new questions, answered by default: {', '.join(new_questions)}")
    return Versions(base, theirs, sorted(set(edited) - dropped), lock, notes)


def rendered(
    place: Place, source: Source, commit: str, answers: dict[str, str]
) -> tuple[Tree, dict[str, str]]:
    """Return a version with a project's answers, as a tree; and all answers, defaults included."""
    with tempfile.TemporaryDirectory(prefix="template-", ignore_cleanup_errors=True) as folder:
        result = rendering.rendering(source, commit, answers, Path(folder) / "rendered")
        return three_way.tree_of(place, result.project), result.answers


def renamed_package(place: Place, base: Tree, name: str, mine: Tree) -> str:
    """Return what the project's package is called, if its folder was renamed by hand; else ""."""

    def files(tree: Tree) -> list[str]:
        return [path for path in tree if path.startswith(f"{name}/")]

    if not name or files(mine) or not files(base):
        return ""
    folders = Counter(
        new.partition("/")[0]
        for old, new in three_way.renames(place, base, mine).items()
        if old.partition("/")[0] == name and old.partition("/")[2] == new.partition("/")[2]
    )
    package, count = folders.most_common(1)[0] if folders else ("", 0)
    return package if package.isidentifier() and 2 * count >= len(files(base)) else ""


def is_other(mine: str | None, entry: str) -> bool:
    """Whether a file exists with another content; its mode is ignored."""
    return mine is not None and mine.split()[1] != entry.split()[1]
