"""Update a project to a newer version of its template, on a branch of its own.

    python -m workflow.template.update [--project PATH] [--to VERSION] [--answer NAME=VALUE]
    python -m workflow.template.update --continue    resume after a conflict or a failed check
    python -m workflow.template.update --abort       restore the branch and the files as they were
    python -m workflow.template.update --scheduled   by CI, once a week

The old and the new version are rendered from the project's answers, and Git merges the difference.
What `owners` calls managed is replaced whole, what it calls built is built again, what is the
project's own is not touched. Exit code 0: updated, and checks and tests passed; 1: anything else.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .. import uv
from ..errors import CommandError, enumerated
from ..git import GitError
from ..paths import ROOT
from . import migrations, owners, progress, record, three_way, uv_lock
from .options import SCHEDULED, UPDATE, UPDATE_REPEATABLE, named_values
from .outcome import (
    ABORT,
    CONTINUE,
    conflicts_message,
    edited_message,
    print_outcome,
    shown,
)
from .progress import Progress, Step
from .ready import branch_for, require_known, require_newer, require_ready, update_under_way
from .record import Record
from .source import NotLinkedError, Source, cache, open_source
from .three_way import Place
from .versions import Versions, prepare, way

MONOREPO = "workflow/monorepo.py"  # of projects that may be one of several in a repository


def start(
    project: Path,
    to: str = "",
    answers: dict[str, str] | None = None,
    drop: Sequence[str] = (),
    tests: bool = True,
) -> bool:
    """Update a project; return whether all went well. What did not, is printed.

    Args:
        to: a version, tag or commit of the template; "" for the newest.
        answers: to new questions, or other answers than the recorded ones.
        drop: managed files, or folders of them, whose edits are dropped.
        tests: whether the project's checks and tests run at the end.

    Raises:
        CommandError, GitError: nothing was touched.
    """
    answers = answers or {}
    place = three_way.at(project)
    require_ready(place)
    recorded = record.read(project)
    with open_source(recorded.template, cache(project)) as source:
        old = source.recorded(recorded)
        target = source.resolve(to) if to else source.newest(recorded.checkout)
        require_newer(source, old, target)
        require_known(source, target, answers)
        if old == target and not answers:
            print(f"up to date: {shown(source, old)}")
            return True
        branch = branch_for(place, source, target)
        step = way(source, old, target)[0]
        versions = prepare(place, source, recorded, step, answers if step == target else {}, drop)
        if versions.edited:
            raise CommandError(edited_message(versions.edited))
        state = Progress(branch, place.branch(), place.head(), target, answers, tests)
        progress.write(place.git_dir, state)
        try:
            place.git("switch", "--quiet", "--no-track", "--force-create", branch)
            merge(place, source, state, recorded, step, versions)
        except (CommandError, GitError):
            leave(place, state)
            raise
        return proceed(place, source, state)


def resume(project: Path, tests: bool = True) -> bool:
    """Continue an update: what is left of a merge, the versions after it, the checks."""
    place = three_way.at(project)
    state = require_under_way(place)
    state.tests = state.tests and tests
    with open_source(record.read(project).template, cache(project)) as source:
        return proceed(place, source, state)


def abort(project: Path) -> None:
    """Restore the branch and the files that were there before an update."""
    place = three_way.at(project)
    state = require_under_way(place)
    tip = place.commit(f"refs/heads/{state.branch}")
    leave(place, state)
    print(f"back on {state.start or state.commit[:7]}, without the update")
    if tip not in (None, state.commit):
        print(f"branch {state.branch} is removed; git branch {state.branch} {tip} restores it")


def proceed(place: Place, source: Source, state: Progress) -> bool:
    """Finish the merge that is under way, merge what is left, and check the result."""
    while True:
        if state.step:
            if state.step.conflicts and (message := conflicts_message(place, state.step)):
                print(message)
                return False
            finish(place, source, state, state.step)
        recorded = record.read(place.folder)
        old = source.recorded(recorded)
        if old == state.target:
            break
        step = way(source, old, state.target)[0]
        answers = state.answers if step == state.target else {}
        try:
            versions = prepare(place, source, recorded, step, answers)
            merge(place, source, state, recorded, step, versions)
        except CommandError as error:
            raise CommandError(f"{error}; then {CONTINUE}, or {ABORT}") from None
    passed = not state.tests or check(place)
    print_outcome(place, state, passed)
    if passed:
        progress.remove(place.git_dir)
    return passed


def merge(
    place: Place, source: Source, state: Progress, recorded: Record, commit: str, versions: Versions
) -> None:
    """Merge a version into HEAD; what has to follow is noted in the progress.

    Raises:
        CommandError, GitError: nothing was merged.
    """
    mine = three_way.tree_at(place, "HEAD")
    locks = [versions.lock, mine.get(owners.LOCK, ""), versions.theirs.get(owners.LOCK, "")]
    pyproject = versions.theirs.get("pyproject.toml", "")
    step = Step(place.head(), recorded.version, source.version(commit), locks, pyproject)
    _, _, left_out = three_way.without_deleted(place, versions.base, versions.theirs)
    message = f"Update from the template: {shown(source, commit)}"
    progress.write(place.git_dir, replace(state, step=step))
    try:
        step.conflicts = three_way.merge(place, versions.base, versions.theirs, message)
    except (CommandError, GitError):
        progress.write(place.git_dir, state)
        raise
    state.step = step
    state.notes += versions.notes
    if left_out:
        state.notes.append(f"deleted here, so left out: {enumerated(sorted(left_out))}")
    progress.write(place.git_dir, state)


def finish(place: Place, source: Source, state: Progress, step: Step) -> None:
    """Finish a merge: its commit, the lock, the migrations.

    Raises:
        CommandError: one of them failed; `--continue` tries it again.
    """
    if place.commit("CHERRY_PICK_HEAD"):
        place.git("cherry-pick", "--continue")
    elif place.head() == step.ours:
        raise CommandError(f"the merge was aborted, so nothing can be continued: {ABORT}")
    project = place.folder
    before = untracked(place)
    try:
        solve_lock(place, state, step)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            source.archive(source.newest(), Path(folder))
            for script in migrations.between(Path(folder), step.old, step.new):
                lines = migrations.run(script, project)
                state.notes.append(f"migration {script.stem}: {lines[-1] if lines else 'ran'}")
    except CommandError as error:
        raise CommandError(f"{error}; then {CONTINUE}, or {ABORT}") from None
    place.git("add", "--update", "--", place.prefix or ".")
    if MONOREPO in three_way.tree_at(place, "HEAD") and place.prefix:
        write_top(place, state)
    if new := sorted(untracked(place) - before):
        place.git("add", "--", *new)
    if place.git("diff", "--cached", "--name-only"):
        is_ours = place.commit("HEAD^") == step.ours
        options = ["--amend", "--no-edit"] if is_ours else ["--message=Lock and migrations"]
        place.git("commit", "--quiet", "--no-verify", *options)
    state.step = None
    progress.write(place.git_dir, state)


def write_top(place: Place, state: Progress) -> None:
    """Write what a project has at the top of its repository anew, by its new code, and stage it.

    These are, for example, its CI workflows, which are made from files in the project's folder.
    """
    before = place.git("diff", "--name-only", "-z")
    result = run_in_project(place.folder, "python", "-m", "workflow.repository", "make")
    if result.returncode:
        state.notes.append("the files at the repository's top were not updated: inv setup says why")
    now = set(place.git("diff", "--name-only", "-z").split("\0"))
    if paths := sorted(filter(None, now - set(before.split("\0")))):
        place.git("add", "--", *paths)


def solve_lock(place: Place, state: Progress, step: Step) -> None:
    """Solve uv.lock again, unless both it and pyproject.toml are the template's."""
    base, ours, theirs = step.locks
    mine = three_way.tree_at(place, "HEAD")
    if owners.LOCK not in mine or not theirs:
        return
    if ours == base and mine.get("pyproject.toml") == step.pyproject:
        return
    texts = [three_way.content(place, {"": entry} if entry else {}, "") for entry in step.locks]
    pinned = uv_lock.pins(*((text or b"").decode() for text in texts))
    print(f"$ uv lock ({len(pinned)} versions of yours stay)" if pinned else "$ uv lock")
    if refused := uv_lock.solve(place.folder, pinned):
        state.notes.append(
            f"versions that pyproject.toml no longer allows, so they changed: {', '.join(refused)}"
        )


def check(place: Place) -> bool:
    """Run the project's own checks and tests; what the checks fix is a commit of its own."""
    fixed = run_inv(place.folder, "check", "--fix")
    place.git("add", "--update", "--", place.prefix or ".")
    if place.git("diff", "--cached", "--name-only"):
        place.git("commit", "--quiet", "--no-verify", "--message=inv check --fix after the update")
    return run_inv(place.folder, "test") and fixed


def run_inv(project: Path, *arguments: str) -> bool:
    """Run a task of the merged project; return whether it passed."""
    print(f"$ uv run inv {' '.join(arguments)}", flush=True)
    return not run_in_project(project, "inv", *arguments).returncode


def run_in_project(project: Path, *command: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command in the merged project's own environment: this process has the old modules."""
    inherited = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    uv_run = [uv.command(), "run", "--project", str(project), *command]
    return subprocess.run(uv_run, cwd=project, env=inherited, check=False)


def require_under_way(place: Place) -> Progress:
    state = progress.read(place.git_dir)
    if state is None or not place.commit(f"refs/heads/{state.branch}"):
        raise CommandError("no update is under way")
    return state


def leave(place: Place, state: Progress) -> None:
    """Restore what was checked out before an update, and remove its branch."""
    if place.branch() == state.branch:
        if place.commit("CHERRY_PICK_HEAD"):
            place.git("cherry-pick", "--abort")
        place.git("reset", "--quiet", "--hard", "HEAD")
        target = [state.start] if state.start else ["--detach", state.commit]
        place.git("switch", "--quiet", *target)
    if place.commit(f"refs/heads/{state.branch}"):
        place.git("branch", "--quiet", "-D", state.branch)
    progress.remove(place.git_dir)


def interrupted(project: Path) -> str:
    """Return the line after Ctrl-C, which people type while the tests run."""
    branch = update_under_way(three_way.at(project))
    return f"interrupted, on {branch}: {CONTINUE}, or {ABORT}" if branch else "interrupted"


def untracked(place: Place) -> set[str]:
    listed = place.git("ls-files", "--others", "--exclude-standard", "-z").split("\0")
    return set(filter(None, listed))


def notice(text: str) -> str:
    """Return a line that GitHub shows beside a workflow's run; elsewhere, the line itself."""
    return f"::notice title=Template update::{text}" if "GITHUB_ACTIONS" in os.environ else text


def main() -> None:
    options = parser().parse_args()
    try:
        if options.abort:
            abort(options.project)
            return
        if options.resume:
            passed = resume(options.project, not options.no_test)
        else:
            answers = named_values("--answer", options.answer)
            passed = start(options.project, options.to, answers, options.drop, not options.no_test)
    except NotLinkedError as error:
        if not options.scheduled:
            raise SystemExit(str(error)) from None
        print(notice(f"not updated: {error}"))
        return
    except (CommandError, GitError) as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(interrupted(options.project)) from None
    sys.exit(not passed)


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(prog="update", description=(__doc__ or "").split("\n")[0])
    root.add_argument("--project", type=Path, default=ROOT)
    root.add_argument("--to", default="", help=UPDATE["to"])
    for name in UPDATE_REPEATABLE:
        root.add_argument(f"--{name}", action="append", default=[], help=UPDATE[name])
    root.add_argument("--no-test", action="store_true", help=UPDATE["no_test"])
    root.add_argument("--continue", dest="resume", action="store_true", help=UPDATE["continue_"])
    root.add_argument("--abort", action="store_true", help=UPDATE["abort"])
    root.add_argument("--scheduled", action="store_true", help=SCHEDULED)
    return root


if __name__ == "__main__":
    main()
