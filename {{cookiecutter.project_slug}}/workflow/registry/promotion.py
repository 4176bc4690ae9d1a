"""Putting a version of the model into a stage, and taking it out again."""

import os
import re
from dataclasses import dataclass

from .. import git
from ..git import GitError
from ..object_store import DataError, Store
from ..paths import MODEL, ROOT
from ..runs import finding as runs
from ..runs.finding import RecordedRun
from . import commits, versions
from .versions import RegistryError, Version

STAGE = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9_-]*[a-zA-Z0-9])?")  # for gto, and an alias of W&B


@dataclass(frozen=True)
class Promotion:
    """A version in a stage.

    Args:
        run: what its commit has recorded.
        new: whether it was not in the stage before.
        shared: whether the DVC remote has the model.
    """

    version: Version
    run: RecordedRun
    new: bool
    shared: bool


def promote(name: str, stage: str) -> Promotion:
    """Put the model of a run into a stage; a commit that has no version as yet gets one.

    Args:
        name: of the run, as `inv restore` takes it.

    Raises:
        RunError: there is no such run.
        RegistryError: no commit has its model, the model is lost, or Git cannot make the tags.
    """
    if not STAGE.fullmatch(stage):
        raise RegistryError(f"{stage!r} is no name for a stage: letters, digits, - and _ in them")
    run = commits.with_model(name)
    try:
        store = Store()
        store.place(MODEL.as_posix(), str(run.model))
    except DataError as error:
        raise RegistryError(str(error)) from None
    shared = store.is_shared(str(run.model))
    current = versions.in_stage(stage)
    new = current is None or current.commit != run.commit
    if new:
        # By force: one that another version replaced may come back.
        _gto("assign", stage=stage, ref=run.commit, force=True)
        current = versions.in_stage(stage)
    assert current
    return Promotion(current, run, new, shared)


def demote(stage: str) -> tuple[Version, Version | None]:
    """Take the version that is in a stage out of it; return it, and the one that is there now.

    Raises:
        RegistryError: none is in the stage, or Git cannot make the tag.
    """
    if not (current := versions.in_stage(stage)):
        raise RegistryError(f"no version is in {stage}: inv model.history")
    _gto("unassign", stage=stage, ref=current.commit)
    return current, versions.in_stage(stage)


def push() -> int:
    """Send what the versions are made of and from to the DVC remote; return how many objects went.

    `dvc push` sends what is in the folder now; its --all-tags takes a remote that is a relative
    folder for another one.

    Raises:
        RegistryError: the remote does not take it.
    """
    registered = versions.registered()
    hashes = {md5 for version in registered for md5 in runs.outs_at(version.commit).values()}
    try:
        return Store().push(hashes) if hashes else 0
    except DataError as error:
        raise RegistryError(str(error)) from None


def _gto(action: str, **arguments: str | bool) -> None:
    from gto import api
    from gto.exceptions import GTOException

    _identify()
    try:
        getattr(api, action)(".", versions.MODEL, **arguments)
    except GTOException as error:
        raise RegistryError(f"gto: {' '.join(str(error).split())}") from None


def _identify() -> None:
    """Let gto sign tags as Git would: it would make a name up where Git knows none."""
    try:
        found = git.run(ROOT, "-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT")
    except GitError:
        git.require(ROOT)
        raise RegistryError(
            "Git does not know who you are: git config user.name NAME, and user.email"
        ) from None
    name, _, rest = found.decode().partition(" <")
    os.environ |= {"GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": rest.partition(">")[0]}
