"""From a run to the commit that has its model, which a version tags."""

from collections.abc import Iterator

from .. import git
from ..errors import CommandError
from ..paths import MODEL, ROOT
from ..registry import versions
from ..tracking import provenance
from . import finding
from .finding import RecordedRun

# Where a commit is looked for, in this order: an experiment's is in no branch.
PLACES = (("HEAD", "--branches", "--tags", "--remotes"), ("--glob=refs/exps/??/*/*",))


def with_model(name: str) -> RecordedRun:
    """Return what the commit of a run, as `finding.find` takes it, has recorded.

    That of a W&B run is one whose dvc.lock has the very model that the run logged.

    Raises:
        CommandError: there is no such run, or no commit has its model.
    """
    run = finding.find(name)
    if run.kind == finding.WANDB:
        commit = next(_having(finding.logged_models(name)), None)
        if commit is None:
            raise CommandError(
                f"{name}: no commit has its model: commit what the run made, or name its"
                " experiment (inv compare)"
            )
        return finding.revision(commit, commit[:12], finding.GIT)
    if run.model is None:
        raise CommandError(
            f"{name}: commit {run.commit[:12]} has no {MODEL.as_posix()}: inv train, and commit"
            " what it made"
        )
    return run


def _having(models: set[str]) -> Iterator[str]:
    """Yield the commits that have one of these models, by its DVC hash; registered ones first."""
    for version in versions.registered():
        if provenance.model_at(version.commit) in models:
            yield version.commit
    for place in PLACES:
        for md5 in sorted(models):
            arguments = ("log", "--reverse", "--format=%H", f"-S{md5}", *place, "--", "dvc.lock")
            for commit in git.run(ROOT, *arguments).decode().split():
                if provenance.model_at(commit) == md5:  # and not the one that replaced it
                    yield commit
