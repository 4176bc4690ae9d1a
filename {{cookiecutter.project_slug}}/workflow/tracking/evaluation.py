"""The evaluation of the exported model, added to the W&B run that trained it."""

import json
from collections.abc import Mapping
from typing import Any

import wandb

from ..onnx_file import read_provenance, weights_sha256
from ..paths import MODEL, PICTURES, TRAIN_METRICS
from .run import WEIGHTS, finish_run, return_to_run


def log_evaluation(config: dict[str, Any], metrics: Mapping[str, float]) -> None:
    """Log metrics as `test/NAME`, the pictures in reports/pictures/, and the model as an artifact.

    Args:
        config: the composed config as plain types.

    Raises:
        VariableError: a setting of W&B is wrong.
    """
    provenance = read_provenance(MODEL)
    run = return_to_run(config, provenance["run"]["id"])
    # The summary of the last process replaces that of `train` in a later sync: repeat it.
    run.summary.update(json.loads(TRAIN_METRICS.read_text(encoding="utf-8")))
    run.summary.update({f"test/{name}": value for name, value in metrics.items()})
    run.summary[WEIGHTS] = weights_sha256(MODEL)
    if pictures := sorted(PICTURES.glob("*.png")):
        run.log({f"test/{path.stem}": wandb.Image(str(path)) for path in pictures})
    artifact = wandb.Artifact("model", type="model", metadata=provenance)
    artifact.add_file(str(MODEL))
    run.log_artifact(artifact)
    finish_run(run)
