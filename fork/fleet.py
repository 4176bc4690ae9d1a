"""The projects that a team made from its fork: how each stands, and updates of all.

team/projects.toml lists them, a folder or a Git address each:

    [orders]
    git = "https://git.example.com/ml/orders.git"
    [digits]
    git = "../digits"
    branch = "main"

Each is cloned, into .git/fleet/ of the fork, and updated there on a branch of its own: nobody's
checkout is touched. A project that fails is a row that says so, and the others go on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from workflow.errors import CommandError, enumerated, one_line
from workflow.git import GitError
from workflow.template import branches, drift, proposal, record, three_way
from workflow.template.record import without_secret
from workflow.template.source import cache, open_source

from fork import WORKFLOW, hosts
from fork.team import FOLDER

LIST = f"{FOLDER}/projects.toml"
UPDATE = "workflow.template.update"
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
PARALLEL = 4


Row = TypeVar("Row")


@dataclass(frozen=True)
class Project:
    """A line of team/projects.toml.

    Args:
        git: a URL, or a folder, which counts from the fork's.
        branch: that updates are for; "" for the default one.
    """

    name: str
    git: str
    branch: str = ""


@dataclass(frozen=True)
class Status:
    """How a project stands.

    Args:
        newest: the version that it could have.
        behind: whether there is something newer.
        drift: managed files that were edited there; None where that is not known.
        checks: of its newest commit, as the host says; "" where it cannot be asked.
        problem: why nothing else is known; "" where all went well.
    """

    name: str
    git: str
    version: str = ""
    newest: str = ""
    behind: bool = False
    drift: int | None = None
    checks: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Update:
    """What an update of a project did, or would do.

    Args:
        state: "up to date", "would update", "updated", "conflict" or "failed".
        files: that it changes, or those in conflict.
        branch: that was pushed.
        request: the address of the pull request.
        problem: why it failed, in one line.
    """

    name: str
    git: str
    state: str
    old: str = ""
    new: str = ""
    files: tuple[str, ...] = ()
    branch: str = ""
    request: str = ""
    problem: str = ""

    @property
    def is_good(self) -> bool:
        """Whether nobody has to look after it."""
        return self.state not in ("conflict", "failed")


def projects(root: Path) -> list[Project]:
    """Read team/projects.toml.

    Raises:
        CommandError: it is not there, lists nothing, or something in it cannot be meant.
    """
    path = root / LIST
    if not path.is_file():
        raise CommandError(f'{LIST} is missing: write [NAME] and git = "ADDRESS" for each project')
    try:
        listed = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{LIST}: {error}") from None
    members = []
    for name, entry in listed.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("git"), str):
            raise CommandError(f'{LIST}: {name}: needs git = "ADDRESS"')
        if not NAME.fullmatch(name):
            raise CommandError(f"{LIST}: {name}: is not a name: letters, digits, hyphens and dots")
        if unknown := set(entry) - {"git", "branch"}:
            raise CommandError(f"{LIST}: {name}.{min(unknown)}: is not one of git, branch")
        members.append(Project(name, entry["git"], str(entry.get("branch", ""))))
    if not members:
        raise CommandError(f'{LIST} lists no project: write [NAME] and git = "ADDRESS" for each')
    return members


def status(root: Path) -> list[Status]:
    """Return how each project stands."""
    return _each(projects(root), lambda one: _status(root, one))


def update(root: Path, apply: bool = False) -> list[Update]:
    """Update each project to the fork's newest version.

    Args:
        apply: push a branch with each update, and open a pull request; else only say what would be.
    """
    return _each(projects(root), lambda one: _update(root, one, apply))


def as_json(rows: Iterable[Status | Update]) -> str:
    """Return rows for a program."""
    return json.dumps([asdict(row) for row in rows], indent=2)


def _each(listed: list[Project], row: Callable[[Project], Row]) -> list[Row]:
    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(row, listed))


def _status(root: Path, project: Project) -> Status:
    address = without_secret(project.git)
    try:
        clone = _cloned(root, project)
        recorded = record.read(clone)
        with open_source(recorded.template, cache(clone)) as source:
            old, new = source.recorded(recorded), source.newest(recorded.checkout)
            newest = source.version(new) or new[:7]
            edited = drift.diff(clone).files
    except (CommandError, GitError, OSError) as error:
        return Status(project.name, address, problem=one_line(error))
    return Status(
        project.name,
        address,
        recorded.version or old[:7],
        newest,
        old != new,
        len(edited),
        _checks(clone, project.branch or _default_branch(clone)),
    )


def _update(root: Path, project: Project, apply: bool) -> Update:
    address = without_secret(project.git)
    try:
        clone = _cloned(root, project)
        place = three_way.at(clone)
        start = str(place.commit("HEAD"))
        old = record.read(clone).version or ""
        result = subprocess.run(
            [sys.executable, "-m", UPDATE, f"--project={clone}", "--no-test"],
            env={
                **os.environ,
                "GIT_COMMITTER_NAME": branches.COMMITTER,
                "PYTHONPATH": WORKFLOW,
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        lines = [*result.stderr.strip().splitlines(), *result.stdout.strip().splitlines()]
        if conflicts := three_way.unmerged(place):
            return Update(project.name, address, "conflict", old, files=tuple(conflicts))
        if result.returncode:
            return Update(project.name, address, "failed", old, problem=_reason(lines))
        new = record.read(clone).version or ""
        names = place.git("diff", "--name-only", "-z", start, "HEAD").split("\0")
        files = tuple(filter(None, names))
        if not files:
            return Update(project.name, address, "up to date", old, new)
        if not apply:
            return Update(project.name, address, "would update", old, new, files)
        branch = place.git("symbolic-ref", "--short", "HEAD").strip()
        title = f"Update from the template: {old} to {new}"
        base = project.branch or _default_branch(clone)
        branch, request = _propose(clone, base, branch, title)
        return Update(project.name, address, "updated", old, new, files, branch, request)
    except (CommandError, GitError, OSError) as error:
        return Update(project.name, address, "failed", problem=one_line(error))


def _cloned(root: Path, project: Project) -> Path:
    """Clone a project, or bring its clone to what the project's branch is now.

    Raises:
        CommandError: it cannot be reached, or is no project of a template.
    """
    folder = three_way.at(root).git_dir / "fleet" / project.name
    address = _address(root, project)
    try:
        if folder.exists() and _origin(folder) != address:
            shutil.rmtree(folder)
        if not folder.exists():
            folder.parent.mkdir(exist_ok=True)
            place = three_way.at(root)
            place.git("clone", "--quiet", "--no-tags", "--end-of-options", address, str(folder))
        place = three_way.at(folder)
        place.git("fetch", "--quiet", "--no-tags", "--prune", "origin")
        place.git("remote", "set-head", "origin", "--auto")
        branch = project.branch or _default_branch(folder)
        if place.commit(f"refs/remotes/origin/{branch}") is None:
            raise CommandError(f"{without_secret(project.git)} has no branch {branch}")
        for unfinished in ("cherry-pick", "merge"):
            with suppress(GitError):  # there is none
                place.git(unfinished, "--abort")
        place.git("reset", "--quiet", "--hard")
        place.git("switch", "--quiet", "--force-create", branch, f"origin/{branch}")
        place.git("clean", "--quiet", "--force", "-d", "-x")
        for name in place.git("branch", "--format=%(refname:short)").split():
            if name != branch:
                place.git("branch", "--quiet", "-D", name)
    except GitError as error:
        secret = without_secret(address)
        raise CommandError(
            f"cannot be reached: {one_line(error).replace(address, secret)}"
        ) from None
    return folder


def _address(root: Path, project: Project) -> str:
    folder = (root / Path(project.git).expanduser()).resolve()
    if folder.exists():
        return str(folder)
    if not re.match(r"\w[\w+.-]*:", project.git) and "@" not in project.git:
        raise CommandError(f"cannot be reached: there is no folder {project.git}")
    return project.git


def _origin(folder: Path) -> str:
    try:
        return three_way.at(folder).git("remote", "get-url", "origin").strip()
    except (CommandError, GitError):
        return ""


def _default_branch(folder: Path) -> str:
    name = three_way.at(folder).git("symbolic-ref", "--short", "refs/remotes/origin/HEAD").strip()
    return name.removeprefix("origin/")


def _checks(clone: Path, branch: str) -> str:
    commit = three_way.at(clone).commit(f"refs/remotes/origin/{branch}") or ""
    return hosts.checks(clone, hosts.command_for(_origin(clone)), branch, commit)


def _propose(clone: Path, base: str, branch: str, title: str) -> tuple[str, str]:
    """Push the branch of an update, and open a request of it unless there is one.

    An earlier update that is still open becomes this one, unless others have committed to it.

    Returns:
        The branch in origin, and the request's address; "" where no command for the host is there.

    Raises:
        CommandError: nothing is pushed; or it is, and the host opens no request.
    """
    place, command = three_way.at(clone), hosts.command_for(_origin(clone))
    target = branches.target(clone, branch)
    name = target.branch
    request = hosts.find_request(clone, command, name) if command else ""
    if target.has_others:
        raise CommandError(
            f"{name} is in origin already, with other commits: merge or delete it there"
        )
    if not target.has_update:
        lease = f"--force-with-lease=refs/heads/{name}:{target.tip}"
        place.git("push", "--quiet", lease, "origin", f"HEAD:refs/heads/{name}")
    if not command or (request and target.has_update):
        return name, request
    problem = "its request cannot be changed" if request else "no request can be opened"
    try:
        text = proposal.description(clone)
        if request:
            hosts.change_request(clone, command, request, title, text)
            return name, request
        return name, hosts.open_request(clone, command, name, title, text, base)
    except CommandError as error:
        raise CommandError(f"{name} is pushed, but {problem}: {error}") from None


def _reason(lines: list[str]) -> str:
    """Return the lines of a refusal as one, its files included."""
    text = " ".join(line.strip() for line in lines) or "the update failed"
    return text if len(text) <= 300 else f"{text[:297]}..."


def table(rows: Iterable[Status | Update]) -> str:
    """Return rows as text in columns."""
    cells = [_cells(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _cells(row: Status | Update) -> list[str]:
    if isinstance(row, Status):
        if row.problem:
            return [row.name, "?", "", "", row.problem]
        newer = f"{row.version} -> {row.newest}" if row.behind else row.version
        edited = f"{row.drift} managed files edited" if row.drift else "no drift"
        return [row.name, newer, edited, f"checks: {row.checks or 'not known'}", ""]
    versions = f"{row.old} -> {row.new}" if row.new and row.new != row.old else row.old
    files = enumerated(row.files, 5)
    details = {
        "would update": f"{len(row.files)} files",
        "updated": f"{len(row.files)} files, branch {row.branch} {row.request}".strip(),
        "conflict": files,
        "failed": row.problem,
    }
    return [row.name, row.state, versions, details.get(row.state, "")]
