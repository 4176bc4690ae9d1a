"""The checkpoint of the best epoch as an artifact of the W&B run."""

from pathlib import Path

import wandb

from ..paths import CHECKPOINT
from ..tracking import provenance


def keep(path: Path, metric: str, value: float, epochs: int) -> None:
    """Log a checkpoint, with the DVC hashes of its data, where a W&B run is open.

    Args:
        metric: the one that selected it, as it is logged, such as `val/loss`.
        value: of that metric.
        epochs: how many were trained.
    """
    if not wandb.run:
        return
    metadata = {"data": provenance.data_hashes(), metric: value, "epochs": epochs}
    artifact = wandb.Artifact("checkpoint", type="checkpoint", metadata=metadata)
    artifact.add_file(str(path), name=CHECKPOINT.name)
    wandb.run.log_artifact(artifact, aliases=["best"])
