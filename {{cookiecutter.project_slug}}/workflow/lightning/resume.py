"""Checkpoints to resume from, and what they say of where they are."""

import re
from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO

from .. import files, formats
from ..checkpoint_file import FORMAT, STAMP
from ..training.unfinished import Training


class AtomicCheckpointIO(TorchCheckpointIO):
    """Replaces a checkpoint by a complete one: a kill while it is written leaves the old one.

    Lightning writes it elsewhere and moves it, which between two file systems is a copy.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        with files.replacing(Path(path)) as unfinished:
            stamped = {**checkpoint, STAMP: formats.stamp(FORMAT)}
            super().save_checkpoint(stamped, unfinished, storage_options)


def put(training: Training, checkpoint: dict[str, Any], config: dict[str, Any]) -> None:
    """Lay down a checkpoint of a past run, to resume from with this config.

    It is the newest, and, until an epoch is better, the best.
    """
    checkpoint = {**checkpoint, "hyper_parameters": {"config": config}}
    patience = [
        node["patience"]
        for node in config["callbacks"].values()
        if node and node["_target_"].endswith(".EarlyStopping") and "patience" in node
    ]
    for name, state in checkpoint["callbacks"].items():
        if name.startswith("ModelCheckpoint"):
            _relocate(state, training.folder.resolve())
        elif name.startswith("EarlyStopping") and patience:
            state["patience"] = patience[0]  # Lightning would keep that of the checkpoint
    for path in (training.best, training.newest):
        AtomicCheckpointIO().save_checkpoint(checkpoint, path)


def _relocate(state: dict[str, Any], folder: Path) -> None:
    """Make the state of a ModelCheckpoint name the files in `folder`."""

    def here(path: str) -> str:
        return str(folder / re.split(r"[\\/]", path)[-1]) if path else path

    state["dirpath"] = str(folder)
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = here(state[key])
    state["best_k_models"] = {here(path): score for path, score in state["best_k_models"].items()}
