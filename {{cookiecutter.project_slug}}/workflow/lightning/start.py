"""A checkpoint of Lightning as the start of a training: reading it, and taking its weights."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..training import start
from ..training.checkpoints import NOT_OF_TRAINING, UNREADABLE, Content

if TYPE_CHECKING:
    from torch import Tensor, nn

NETWORK = "network."  # starts the names of the network's weights in a checkpoint
SAME = ("data", "model", "optimizer", "scheduler", "seed")  # to resume


def load_start(config: dict[str, Any]) -> start.Start | None:
    """Return what a training of this config starts from, or None where nothing is named.

    Raises:
        ConfigError: it is not available, or the config does not fit it.
    """

    def shapes() -> start.Shapes:
        from .networks import make_network

        return _shapes(make_network(config["model"]).state_dict())

    return start.load(config, read, SAME, "trainer.max_epochs", shapes)


def read(path: Path) -> Content:
    """Read a checkpoint, on the CPU.

    Raises:
        ValueError: it is not a checkpoint, or none of this project's training.
    """
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, KeyError):
        raise ValueError(UNREADABLE) from None
    parts = {"epoch", "state_dict", "optimizer_states", "callbacks", "hyper_parameters"}
    if not isinstance(loaded, dict) or parts - loaded.keys():
        raise ValueError(NOT_OF_TRAINING)
    return Content(
        config=loaded["hyper_parameters"].get("config", {}),
        epochs=int(loaded["epoch"]) + _has_ended(loaded),
        provenance=loaded.get("provenance", {}),
        shapes=_shapes(_weights(loaded)),
        loaded=loaded,
    )


def initialize(network: "nn.Module", content: Content) -> None:
    """Give the network the weights of a checkpoint."""
    network.load_state_dict(_weights(content.loaded))


def _has_ended(loaded: dict[str, Any]) -> bool:
    """Whether the last epoch had ended; a checkpoint may be of the middle of it."""
    progress = loaded["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    return bool(progress["is_last_batch"])


def _weights(loaded: dict[str, Any]) -> "dict[str, Tensor]":
    weights = loaded["state_dict"].items()
    return {n.removeprefix(NETWORK): value for n, value in weights if n.startswith(NETWORK)}


def _shapes(weights: "Mapping[str, Tensor]") -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in weights.items()}
