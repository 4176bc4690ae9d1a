"""The stages in W&B: aliases of the artifact that the model's run logged."""

from typing import TYPE_CHECKING

from ..errors import CommandError, one_line
from ..tracking import artifacts
from ..tracking.run import resolve_mode
from ..tracking.server import log_in

if TYPE_CHECKING:
    from wandb import Artifact


def add(run: str | None, model: str, *aliases: str) -> str:
    """Give a model these aliases, which no other has then; return what W&B calls it.

    Args:
        run: entity/project/id of the run that logged it, where that is known.
        model: its DVC hash.

    Raises:
        CommandError: tracking is offline, W&B does not answer, or it has no such run or model.
    """
    return _change(run, model, set(aliases), set())


def remove(run: str | None, model: str, alias: str) -> str:
    """Take an alias from a model, and return what W&B calls the model.

    Raises:
        CommandError: as for `add`.
    """
    return _change(run, model, set(), {alias})


def _change(run: str | None, model: str, added: set[str], removed: set[str]) -> str:
    import wandb

    mode = resolve_mode("auto")
    if mode != "online":
        raise CommandError(f"tracking is {mode}")
    if problem := log_in():
        raise CommandError(problem)
    try:
        artifact = _artifact(run, model)
        artifact.aliases = sorted({*artifact.aliases, *added} - removed)
        artifact.save()
        return artifact.qualified_name
    except (wandb.Error, ValueError) as error:
        raise CommandError(one_line(error)) from None


def _artifact(run: str | None, model: str) -> "Artifact":
    import wandb

    if run is None:
        raise CommandError("the model cannot be read, or was not tracked")
    for artifact, md5 in artifacts.models(wandb.Api().run(run)):
        if md5 == model:
            return artifact
    raise CommandError(f"run {run} has no such model there")
