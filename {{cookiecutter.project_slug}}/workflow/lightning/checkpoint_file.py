"""Reading what a checkpoint says of itself."""

from pathlib import Path
from typing import Any

import torch


def read_provenance(path: Path) -> dict[str, Any]:
    """Return the provenance in a checkpoint of a finished training; {} where it has none."""
    checkpoint = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    found: dict[str, Any] = checkpoint.get("provenance", {})
    return found
