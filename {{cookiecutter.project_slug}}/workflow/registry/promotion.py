"""Promoting a version of the model to a stage, and demoting it."""

import os
import re
from dataclasses import dataclass

from .. import git
from ..dvc_store.objects import Store
from ..errors import CommandError, one_line
from ..git import GitError
from ..paths import MODEL, ROOT, home
from ..tracking import provenance
from . import versions
from .versions import Version

STAGE = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9_-]*[a-zA-Z0-9])?")  # for gto, and an alias of W&B


@dataclass(frozen=True)
class Promotion:
    """A version in a stage.

    Args:
        new: whether it was not in the stage before.
        shared: whether the DVC remote has the model.
    """

    version: Version
    new: bool
    shared: bool


def require_stage(name: str) -> None:
    """Raise CommandError if a stage cannot be called that."""
    if not STAGE.fullmatch(name):
        raise CommandError(f"{name!r} is not a name for a stage: letters, digits, - and _")


def promote(commit: str, model: str, stage: str) -> Promotion:
    """Put the model of a commit into a stage; a commit that has no version so far gets one.

    Args:
        model: its DVC hash.

    Raises:
        CommandError: the model is lost, or Git cannot make the tags.
    """
    require_stage(stage)
    store = Store()
    store.locate(MODEL.as_posix(), model)
    shared = store.is_shared(model)
    current = versions.in_stage(stage)
    new = current is None or current.commit != commit
    if new:
        # By force: one that another version replaced may come back.
        _gto("assign", stage=stage, ref=commit, force=True)
        current = versions.in_stage(stage)
    assert current
    return Promotion(current, new, shared)


def demote(stage: str) -> tuple[Version, Version | None]:
    """Take the version that is in a stage out of it; return it, and the one that is there now.

    Raises:
        CommandError: none is in the stage, or Git cannot make the tag.
    """
    if not (current := versions.in_stage(stage)):
        raise CommandError(f"no version is in {stage}: inv model.history")
    _gto("unassign", stage=stage, ref=current.commit)
    return current, versions.in_stage(stage)


def push() -> int:
    """Send what the versions are made of and from to the DVC remote; return how many objects went.

    `dvc push` sends what is in the folder now; its --all-tags takes a remote that is a relative
    folder for another one.

    Raises:
        CommandError: the remote does not take it.
    """
    registered = versions.registered()
    hashes = {md5 for version in registered for md5 in provenance.outs_at(version.commit).values()}
    return Store().push(hashes) if hashes else 0


def _gto(action: str, **arguments: str | bool) -> None:
    from gto import api
    from gto.exceptions import GTOException

    _identify()
    try:
        getattr(api, action)(str(git.top(home())), versions.artifact(), **arguments)
    except GTOException as error:
        raise CommandError(f"gto: {one_line(error)}") from None


def _identify() -> None:
    """Let gto sign tags as Git would: it would make a name up where Git knows none."""
    try:
        identity = git.run(ROOT, "-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT")
    except GitError:
        git.require(ROOT)
        raise CommandError(
            "Git does not know who you are: git config user.name NAME, and user.email"
        ) from None
    name, _, rest = identity.decode().partition(" <")
    os.environ |= {"GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": rest.partition(">")[0]}
