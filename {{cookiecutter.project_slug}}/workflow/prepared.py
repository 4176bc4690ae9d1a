"""Reading what stage `prepare` wrote: SPLIT_INPUT.npy for each input, and SPLIT_target.npy."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np


def read_split(
    folder: Path, split: str, inputs: Iterable[str] = ()
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the inputs (n, …) by name and the target (n,) of a split, memory-mapped.

    Args:
        split: "train", "validation" or "test".
        inputs: the names of the inputs to read, as in conf/data/.
    """
    # "c", copy on write: PyTorch warns of arrays that cannot be written.
    names = [*inputs, "target"]
    arrays = {name: np.load(folder / f"{split}_{name}.npy", mmap_mode="c") for name in names}
    target = arrays.pop("target")
    return arrays, target
