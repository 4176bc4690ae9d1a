"""The stages in W&B: aliases of the artifact that the model's run logged."""

from typing import TYPE_CHECKING

from ..runs.finding import RecordedRun, artifact_models
from ..tracking.run import chosen_mode
from ..tracking.server import log_in

if TYPE_CHECKING:
    from wandb import Artifact


class NotToldError(Exception):
    """W&B was not told; the text says why, in one line."""


def add(run: RecordedRun, *aliases: str) -> str:
    """Give the model of a run these aliases, which no other has then; return what W&B calls it.

    Raises:
        NotToldError: tracking is offline, W&B does not answer, or it has no such run or model.
    """
    return _change(run, set(aliases), set())


def remove(run: RecordedRun, alias: str) -> str:
    """Take an alias from the model of a run, and return what W&B calls the model.

    Raises:
        NotToldError: as for `add`.
    """
    return _change(run, set(), {alias})


def _change(run: RecordedRun, added: set[str], removed: set[str]) -> str:
    import wandb

    mode = chosen_mode("auto")
    if mode != "online":
        raise NotToldError(f"tracking is {mode}")
    if problem := log_in():
        raise NotToldError(problem)
    try:
        artifact = _artifact(run)
        artifact.aliases = sorted({*artifact.aliases, *added} - removed)
        artifact.save()
        return artifact.qualified_name
    except (wandb.Error, ValueError) as error:
        raise NotToldError(" ".join(str(error).split())) from None


def _artifact(run: RecordedRun) -> "Artifact":
    import wandb

    if "run" not in run.made_from:
        raise NotToldError(f"the model of {run.name} cannot be read, or was not tracked")
    path = run.made_from["run"]["path"]
    for artifact, md5 in artifact_models(wandb.Api().run(path)):
        if md5 == run.model:
            return artifact
    raise NotToldError(f"run {path} has no such model there")
