"""Which columns of a table a model relies on: permutation importance (Breiman, 2001)."""

from collections.abc import Callable, Mapping

import numpy as np

from ..shards import Rows
from ..signature import Inputs, Spec
from .sections import Section

REPEATS = 5  # permutations of each column
LARGEST = 2_000  # samples that are permuted


def importances(
    specs: list[Spec],
    inputs: Mapping[str, Rows],
    target: np.ndarray,
    loss: Callable[[Inputs, np.ndarray], float],
    seed: int,
) -> Section | None:
    """Measure by how much the loss rises where the values of a column are permuted.

    Args:
        specs: the `inputs` of the model's signature.
        inputs: (n, …) by name.
        target: (n,).
        loss: of the model on inputs and target.

    Returns:
        The columns of all inputs of kind `features`, the most important first; None without any.
    """
    tables = [spec for spec in specs if spec["kind"] == "features"]
    if sum(len(spec["columns"]) for spec in tables) < 2:
        return None
    generator = np.random.default_rng(seed)
    indices = generator.permutation(len(target))[:LARGEST]
    samples = {name: np.array(array[indices]) for name, array in inputs.items()}
    expected = target[indices]
    before = loss(samples, expected)
    rows = []
    for spec in tables:
        for index, column in enumerate(spec["columns"]):
            rises = []
            for _ in range(REPEATS):
                table = samples[spec["name"]].copy()
                table[:, index] = generator.permutation(table[:, index])
                rises.append(loss({**samples, spec["name"]: table}, expected) - before)
            rows.append([column["name"], float(np.mean(rises)), float(np.std(rises))])
    rows.sort(key=lambda row: -row[1])
    return {"kind": "importances", "columns": ["column", "rise of the loss", "std"], "rows": rows}
