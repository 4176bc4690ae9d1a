"""From a run to the commit that has its model: what a version is a tag of."""

from collections.abc import Iterator

from .. import git
from ..paths import MODEL, ROOT
from ..runs import finding as runs
from ..runs.finding import RecordedRun
from . import versions
from .versions import RegistryError

# Where a commit is looked for, in this order: an experiment's is in no branch.
PLACES = (("HEAD", "--branches", "--tags", "--remotes"), ("--glob=refs/exps/??/*/*",))


def with_model(name: str) -> RecordedRun:
    """Return what the commit of a run, as `runs.find` takes it, has recorded.

    That of a W&B run is one whose dvc.lock has the very model that the run logged.

    Raises:
        RunError: there is no such run.
        RegistryError: no commit has its model.
    """
    run = runs.find(name)
    if run.kind == runs.WANDB:
        commit = next(_having(runs.logged_models(name)), None)
        if commit is None:
            raise RegistryError(
                f"{name}: no commit has its model: commit what the run made, or name its"
                " experiment (inv compare)"
            )
        return runs.revision(commit, commit[:12], runs.GIT)
    if run.model is None:
        raise RegistryError(
            f"{name}: commit {run.commit[:12]} has no {MODEL.as_posix()}: inv train, and commit"
            " what it made"
        )
    return run


def _having(models: set[str]) -> Iterator[str]:
    """Yield the commits that have one of these models, by its DVC hash; registered ones first."""
    for version in versions.registered():
        if runs.model_at(version.commit) in models:
            yield version.commit
    for place in PLACES:
        for md5 in sorted(models):
            arguments = ("log", "--reverse", "--format=%H", f"-S{md5}", *place, "--", "dvc.lock")
            for commit in git.run(ROOT, *arguments).decode().split():
                if runs.model_at(commit) == md5:  # and not the one that replaced it
                    yield commit
