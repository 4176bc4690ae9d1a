"""The tags of the registry here and in Git's remote: what others promoted, and what clashes.

Two people who promote without asking the remote make one tag on two commits. Git then takes neither
`git push --tags` of the second one, nor any later `git fetch --tags`.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from .. import git
from ..errors import CommandError
from ..git import GitError
from ..paths import home
from .versions import artifact

PREFIX = "refs/tags/"
ANSWER_SECONDS = 60  # for a remote; somebody may have to type a password


@dataclass(frozen=True)
class Tag:
    """A tag of the registry.

    Args:
        id: of the tag itself, which is another one where another person made it.
    """

    name: str
    id: str
    commit: str


Tags = dict[str, Tag]  # by name


class NoAnswerError(CommandError):
    """Git's remote does not answer, or refuses."""


class ClashError(CommandError):
    """A tag here has the name of another one in the remote."""


@dataclass(frozen=True)
class Clash:
    """One name, of a tag here and of another one in the remote."""

    here: Tag
    there: Tag

    def __str__(self) -> str:
        here, there = self.here.commit[:12], self.there.commit[:12]
        if here == there:
            return f"{self.here.name} was made here and there, on commit {here}"
        return f"{self.here.name} is commit {here} here, and {there} there"


def remote() -> str | None:
    """Return the name of the remote that the branch follows, or of the one that there is."""
    folder = home()
    branch = git.text(folder, "symbolic-ref", "--quiet", "--short", "HEAD")
    followed = git.text(folder, "config", f"branch.{branch}.remote") if branch else None
    names = (git.text(folder, "remote") or "").split()
    if followed in names:
        return followed
    return "origin" if "origin" in names else next(iter(names), None)


def here() -> Tags:
    """Return the tags of this repository."""
    form = "--format=%(refname)%09%(objectname)%09%(*objectname)"
    listed = git.text(home(), "for-each-ref", form, *_patterns()) or ""
    rows = [line.split("\t") for line in listed.splitlines()]
    return _by_name((ref, tag, commit or tag) for ref, tag, commit in rows)


def there(remote: str) -> Tags:
    """Return the tags of a remote.

    Raises:
        NoAnswerError: it does not answer.
    """
    listed = _ask_remote(remote, "ls-remote", "--tags", remote, *_patterns())
    rows = [line.partition("\t") for line in listed.splitlines()]
    tags = {ref: tag for tag, _, ref in rows}
    peeled = "^{}"  # of a tag: the commit
    names = (ref for ref in tags if not ref.endswith(peeled))
    return _by_name((ref, tags[ref], tags.get(ref + peeled, tags[ref])) for ref in names)


def clashes(here: Tags, there: Tags) -> list[Clash]:
    """Return the names that are of different tags here and in the remote."""
    shared = [name for name in here if name in there]
    return [Clash(here[name], there[name]) for name in shared if here[name].id != there[name].id]


def update(name: str) -> None:
    """Fetch what others promoted from a remote.

    Raises:
        NoAnswerError: it does not answer.
        ClashError: a tag here clashes with one there.
    """
    others, own = _others(name)
    if new := [tag for tag in others if tag not in own]:
        fetch(name, *(f"{PREFIX}{tag}:{PREFIX}{tag}" for tag in new))
        print(f"from {name}: {', '.join(new)}", flush=True)


def fetch(remote: str, *refs: str) -> None:
    """Fetch refs of a remote, none of them by force.

    Raises:
        NoAnswerError: the remote does not answer.
    """
    options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
    _ask_remote(remote, "fetch", *options, "--stdin", remote, content="\n".join(refs))


def push(remote: str) -> list[str]:
    """Send the tags that a remote lacks, all of them or none; return their names.

    Raises:
        NoAnswerError: it does not answer, or refuses: one of them has come there meanwhile.
        ClashError: a tag here clashes with one there.
    """
    others, own = _others(remote)
    if new := [tag for tag in own if tag not in others]:
        _ask_remote(remote, "push", "--quiet", "--atomic", remote, *(PREFIX + tag for tag in new))
    return new


def _others(remote: str) -> tuple[Tags, Tags]:
    """Return the tags of the remote, and those here, none of which clashes with one of them."""
    others, own = there(remote), here()
    for clash in clashes(own, others):
        raise ClashError(f"{clash}, in {remote}: inv model.reconcile")
    return others, own


def _patterns() -> tuple[str, str]:
    name = artifact().replace(":", "=")  # as gto writes it in tags
    return f"{PREFIX}{name}@*", f"{PREFIX}{name}#*"


def _ask_remote(remote: str, *arguments: str, content: str = "") -> str:
    try:
        printed = git.run(home(), *arguments, content=content.encode(), seconds=ANSWER_SECONDS)
    except GitError as error:
        git.require(home())
        raise NoAnswerError(f"Git's remote {remote}: {error}") from None
    return os.fsdecode(printed)


def _by_name(tags: Iterable[tuple[str, str, str]]) -> Tags:
    """Return the tags that gto reads: others may be called nearly so."""
    from gto.tag import parse_name

    candidates = (Tag(ref.removeprefix(PREFIX), tag, commit) for ref, tag, commit in tags)
    return {tag.name: tag for tag in candidates if parse_name(tag.name, raise_on_fail=False)}
