"""The checks before an update; where one fails, nothing is touched."""

from collections.abc import Mapping

from .. import git
from ..errors import CommandError, enumerated
from ..git import GitError
from . import branches, migrations, progress, record, three_way
from .outcome import ABORT, CONTINUE
from .source import Source
from .three_way import Place


def require_ready(place: Place) -> None:
    """Check that an update can begin.

    Raises:
        CommandError, GitError: it cannot; the text says what to type.
    """
    if not place.commit("HEAD"):
        raise CommandError("there is no commit yet: inv setup")
    require_none_under_way(place)
    if command := git.under_way(place.git_dir):
        undo = "reset" if command == "bisect" else "--abort"
        raise CommandError(f"a {command} is in progress: finish it, or git {command} {undo}")
    status = ("status", "--porcelain", "--untracked-files=no", "--no-renames", "-z")
    if paths := [line[3:] for line in place.git(*status).split("\0") if line]:
        raise CommandError(
            f"there are uncommitted changes ({enumerated(paths)}): git commit, or git stash"
        )
    if (place.folder / record.FILE).exists() and record.FILE not in three_way.tree_at(
        place, "HEAD"
    ):
        raise CommandError(f"{record.FILE} is in no commit: git add --force {record.FILE}, commit")
    try:
        place.git("var", "GIT_COMMITTER_IDENT")
    except GitError:
        raise GitError(
            "Git knows no name for the commit",
            "git config user.name NAME, git config user.email ADDRESS",
        ) from None


def update_under_way(place: Place) -> str:
    """Return the branch of an update that is checked out, but not done; "" where there is none."""
    state = progress.read(place.git_dir)
    return state.branch if state and place.branch() == state.branch else ""


def require_none_under_way(place: Place) -> None:
    if branch := update_under_way(place):
        raise CommandError(f"an update is under way on {branch}: {CONTINUE}, or {ABORT}")


def require_newer(source: Source, old: str, new: str) -> None:
    before, after = (source.version(commit) for commit in (old, new))
    if migrations.number(after) < migrations.number(before):
        raise CommandError(
            f"version {after} of the template is older than the project's, {before}: an update"
            " goes forward only"
        )


def require_known(source: Source, commit: str, answers: Mapping[str, str]) -> None:
    questions = [name for name in source.questions(commit) if not name.startswith("_")]
    for name in answers:
        if name not in questions:
            raise CommandError(
                f"--answer {name}: the template asks no such question (it asks"
                f" {', '.join(questions)})"
            )


def branch_for(place: Place, source: Source, commit: str) -> str:
    """Return the branch of an update; one that is merged already is reused.

    Raises:
        CommandError: it exists, and is not merged.
    """
    branch = branches.name(place.prefix, source.version(commit) or commit[:7])
    tip = place.commit(f"refs/heads/{branch}")
    if tip and branch == place.branch():
        raise CommandError(f"{branch} is the current branch: git switch to the one to update")
    if tip:
        try:
            place.git("merge-base", "--is-ancestor", tip, "HEAD")
        except GitError:
            raise CommandError(
                f"branch {branch} exists already: git merge {branch}, or git branch -D {branch}"
            ) from None
    return branch
