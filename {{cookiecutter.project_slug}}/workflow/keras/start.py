"""A checkpoint of Keras as the start of a training."""

import zipfile
from pathlib import Path
from typing import Any

from ..training import start
from ..training.checkpoints import UNREADABLE, Content
from . import checkpoint

SAME = ("data", "model", "optimizer", "scheduler", "seed")  # keys of what is resumed


def load_start(config: dict[str, Any]) -> start.Start | None:
    """Return what a training of this config starts from, or None where nothing is named.

    Raises:
        ConfigError: it is not available, or the config does not fit it.
    """
    # The shapes are compared when the network is made: Keras makes its weights on inputs.
    return start.load(config, read, SAME, "trainer.epochs")


def read(path: Path) -> Content:
    """Read a checkpoint.

    Raises:
        ValueError: it is not one that can be read.
    """
    try:
        saved = checkpoint.read(path)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        raise ValueError(UNREADABLE) from None
    return Content(saved.config, len(saved.state["epochs"]), saved.provenance, saved.shapes, saved)
