"""What is newer in the template, and where a project has drifted from it.

python -m workflow.template.drift check [--json]    exit code 2 if there is something newer
python -m workflow.template.drift diff [--json]     exit code 2 if a managed file differs
"""

import argparse
import difflib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from .. import git
from ..errors import CommandError, enumerated
from ..git import GitError
from ..paths import ROOT
from . import record, source, three_way
from .owners import owner
from .ready import require_none_under_way
from .rendering import render, rendering
from .source import Source, open_source

Change = Literal["added", "changed", "removed"]
DIFFERS = 2  # exit code: 0 is up to date, 1 an error
SHOWN = 12  # names in a line
UPDATE = "inv template.update"


@dataclass(frozen=True)
class Newer:
    """What the newest version of the template has, against that of a project.

    Args:
        behind: number of commits; 0 if the project is up to date.
        changelog: in Markdown.
        files: what an update would change, by owner.
        changed_here: those of them that the project has changed as well.
        questions: new ones, with their default answer.
    """

    template: str
    version: str | None
    commit: str
    newest_version: str | None
    newest_commit: str
    behind: int
    changelog: str
    files: dict[str, list[str]]
    changed_here: list[str]
    questions: dict[str, str]


@dataclass(frozen=True)
class Drift:
    """Where a project's managed files differ from the rendering of its version."""

    version: str | None
    commit: str
    files: dict[str, Change]
    patch: str


def main() -> None:
    arguments = parser().parse_args()
    try:
        if arguments.action == "check":
            newer = check(arguments.project)
            differs = bool(newer.behind)
            print(as_json(newer) if arguments.json else "\n".join(summary(newer)))
        else:
            drift = diff(arguments.project)
            differs = bool(drift.files)
            print(as_json(drift) if arguments.json else "\n".join(difference(drift)))
    except (CommandError, GitError) as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted") from None
    sys.exit(DIFFERS if differs else 0)


def check(project: Path) -> Newer:
    """Compare a project's version of the template with the newest one.

    Raises:
        CommandError: the project has no record, an update of it is under way, or the template is
            not reachable.
    """
    if git.top(project) is not None:
        require_none_under_way(three_way.at(project))
    recorded = record.read(project)
    with open_source(recorded.template, source.cache(project)) as template:
        old, new = template.recorded(recorded), template.newest(recorded.checkout)
        behind = template.behind(old, new)
        newer = Newer(
            template=template.shown,
            version=template.version(old),
            commit=old,
            newest_version=template.version(new),
            newest_commit=new,
            behind=behind,
            changelog=template.changelog(old, new) if behind else "",
            files={},
            changed_here=[],
            questions={},
        )
        return _with_changes(newer, project, recorded, template) if behind else newer


def diff(project: Path) -> Drift:
    """Compare a project's managed files with the rendering of its version.

    Raises:
        CommandError: the project has no record, or the template is not reachable.
    """
    recorded = record.read(project)
    with (
        open_source(recorded.template, source.cache(project)) as template,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
    ):
        commit = template.recorded(recorded)
        rendered = render(template, commit, recorded.answers, Path(folder))
        expected, actual = contents(rendered), contents(project, _names(project))
        managed = {x for x in (*expected, *actual) if owner(x, recorded.skip) == "managed"}
        files = changes(
            {name: expected[name] for name in expected.keys() & managed},
            {name: actual[name] for name in actual.keys() & managed},
        )
        patch = "".join(_patch(x, expected.get(x), actual.get(x)) for x in files)
        return Drift(template.version(commit), commit, files, patch)


def contents(folder: Path, names: Iterable[str] | None = None) -> dict[str, bytes]:
    """Return the content of each file in a folder, by its path with forward slashes.

    CRLF is read as LF: Git may have converted line endings at checkout.
    """
    if names is None:
        names = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    by_name = {}
    for name in names:
        path = folder / name
        if path.is_file():
            content = path.read_bytes()
            by_name[name] = content if b"\0" in content else content.replace(b"\r\n", b"\n")
    return by_name


def changes(old: dict[str, bytes], new: dict[str, bytes]) -> dict[str, Change]:
    """Return how each file that differs has changed."""
    kinds: dict[str, Change] = {}
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            kinds[name] = "added"
        elif name not in new:
            kinds[name] = "removed"
        elif old[name] != new[name]:
            kinds[name] = "changed"
    return kinds


def summary(newer: Newer) -> list[str]:
    """Return the lines that a check prints."""
    current = f"{newer.version or 'a version before 0.2.0'} ({newer.commit[:10]})"
    if not newer.behind:
        return [f"up to date: {current} of {newer.template}", "next: inv template.diff"]
    newest = f"{newer.newest_version} ({newer.newest_commit[:10]})"
    commits = "1 commit" if newer.behind == 1 else f"{newer.behind} commits"
    lines = [f"{current} → {newest}, {commits} newer, of {newer.template}", ""]
    lines += [f"{who:<8} {_counted(names)}" for who, names in newer.files.items()]
    if not newer.files:
        lines.append("no file of this project would change")
    if newer.changed_here:
        lines.append(f"also changed here: {enumerated(newer.changed_here, SHOWN)}")
    for name, answer in newer.questions.items():
        lines.append(f"new question {name}: {answer or 'empty'}, unless --answer {name}=… is given")
    return [*lines, *(["", newer.changelog] if newer.changelog else []), "", f"next: {UPDATE}"]


def difference(drift: Drift) -> list[str]:
    """Return the lines that a diff prints."""
    version = f"{drift.version or 'its version'} ({drift.commit[:10]})"
    if not drift.files:
        return [f"no drift: the managed files match {version}"]
    counts = Counter(drift.files.values())
    counted = ", ".join(f"{number} {change}" for change, number in sorted(counts.items()))
    return [
        drift.patch.rstrip("\n"),
        "",
        f"managed files that differ from {version}: {counted}",
        f"next: inv template.eject PATH (keep an edit), {UPDATE} --drop PATH (drop it)",
    ]


def as_json(outcome: Newer | Drift) -> str:
    return json.dumps(asdict(outcome), indent=2, ensure_ascii=False)


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="template.drift", description=__doc__)
    root.add_argument("action", choices=["check", "diff"])
    root.add_argument("--project", type=Path, default=ROOT, help="its folder; default: this one")
    root.add_argument("--json", action="store_true", help="for other programs")
    return root


def _with_changes(newer: Newer, project: Path, recorded: record.Record, template: Source) -> Newer:
    """Add what an update would change: both versions, rendered with the project's answers."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        old = render(template, newer.commit, recorded.answers, Path(folder) / "old")
        rendered = rendering(template, newer.newest_commit, recorded.answers, Path(folder) / "new")
        before, after = contents(old), contents(rendered.project)
    changed = changes(before, after)
    mine = contents(project, changed)
    by_owner: dict[str, list[str]] = {}
    for name in changed:
        by_owner.setdefault(owner(name, recorded.skip), []).append(name)
    return replace(
        newer,
        files=dict(sorted(by_owner.items())),
        changed_here=[
            name
            for name in by_owner.get("merged", [])
            if mine.get(name) not in (before.get(name), after.get(name))
        ],
        questions={k: v for k, v in rendered.answers.items() if k not in recorded.answers},
    )


def _names(project: Path) -> list[str]:
    """Return the files that Git tracks or would add; every file where there is no repository."""
    listed = git.ask(project, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is None:
        paths = (path.relative_to(project).as_posix() for path in project.rglob("*"))
        return [name for name in paths if "__pycache__" not in name]
    return [name.decode(errors="surrogateescape") for name in listed.split(b"\0") if name]


def _patch(name: str, old: bytes | None, new: bytes | None) -> str:
    """Return the difference of a file, as Git writes it."""
    if b"\0" in (old or b"") + (new or b""):
        return f"Binary files a/{name} and b/{name} differ\n"
    before = "/dev/null" if old is None else f"a/{name}"
    after = "/dev/null" if new is None else f"b/{name}"
    lines = difflib.unified_diff(_lines(old), _lines(new), before, after)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _lines(content: bytes | None) -> list[str]:
    return (content or b"").decode(errors="replace").splitlines(keepends=True)


def _counted(names: list[str]) -> str:
    """Return how many files of each folder, the largest number first; alone, a file's name."""
    folders = Counter(name.partition("/")[0] + "/" if "/" in name else name for name in names)
    parts = [
        f"{folder} ({number})" if folder.endswith("/") else folder
        for folder, number in folders.most_common()
    ]
    return f"{len(names)}: {enumerated(parts, SHOWN)}"


if __name__ == "__main__":
    main()
