"""A training in a file: a zip of config, weights, the optimizer's state and what was logged.

Weights are arrays in NumPy's format: those of one backend are read by the others.
"""

import io
import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import checkpoint_file
from ..checkpoint_file import CONFIG, PROVENANCE

STATE = "state.json"
GROUPS = ("network", "others", "optimizer")  # of the arrays; others: preprocessing and dropout


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Args:
        state: plain values, such as the number of epochs.
        arrays: by group, in Keras's order, each with its name.
    """

    config: dict[str, Any]
    state: dict[str, Any]
    arrays: dict[str, list[tuple[str, np.ndarray]]]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each weight of the network, by its name."""
        return {name: array.shape for name, array in self.arrays["network"]}

    def restore(self, model: Any) -> None:
        """Give a model the weights, and its optimizer, if it has one, its state."""
        for group, variables in _groups(model).items():
            if variables:
                _assign(variables, [array for _, array in self.arrays[group]])


def of(model: Any, config: dict[str, Any], state: dict[str, Any]) -> Saved:
    """Return what a checkpoint of a compiled model holds."""
    groups = _groups(model).items()
    arrays = {group: _named(variables) for group, variables in groups}
    return Saved(config, state, arrays)


def shapes(network: Any) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight of a network, by its name as a checkpoint has it."""
    return {name: array.shape for name, array in _named(network.weights)}


def initialize(network: Any, saved: Saved) -> None:
    """Give a network the weights of a checkpoint."""
    _assign(network.weights, [array for _, array in saved.arrays["network"]])


def write(path: Path, saved: Saved) -> None:
    """Write a checkpoint; the file that was there is replaced by a complete one."""
    members = {
        PROVENANCE: json.dumps(saved.provenance).encode(),
        CONFIG: json.dumps(saved.config).encode(),
        STATE: json.dumps(saved.state).encode(),
    }
    for group, arrays in saved.arrays.items():
        for index, (name, array) in enumerate(arrays):
            content = io.BytesIO()
            np.save(content, array, allow_pickle=False)
            members[f"{group}/{index:05} {name}.npy"] = content.getvalue()
    checkpoint_file.write(path, members)


def read(path: Path) -> Saved:
    """Read a checkpoint.

    Raises:
        OSError, BadZipFile, KeyError, ValueError: there is no file, or it is no such checkpoint.
    """
    with zipfile.ZipFile(path) as archive:
        config, state, provenance = (
            json.loads(archive.read(name)) for name in (CONFIG, STATE, PROVENANCE)
        )
        arrays: dict[str, list[tuple[str, np.ndarray]]] = {group: [] for group in GROUPS}
        for member in sorted(archive.namelist()):
            group, _, file = member.partition("/")
            if group in arrays:
                array = np.load(io.BytesIO(archive.read(member)), allow_pickle=False)
                arrays[group].append((file[6:].removesuffix(".npy"), array))
    return Saved(config, state, arrays, provenance)


def _groups(model: Any) -> dict[str, list[Any]]:
    network = model.network.weights
    mine = {id(variable) for variable in network}
    measured = {id(variable) for variable in model.metrics_variables}
    others = [v for v in model.variables if id(v) not in mine | measured]
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return {"network": network, "others": others, "optimizer": []}
    optimizer.build(model.trainable_variables)
    state = {id(variable) for variable in optimizer.variables}
    others = [variable for variable in others if id(variable) not in state]
    return {"network": network, "others": others, "optimizer": optimizer.variables}


def _named(variables: Sequence[Any]) -> list[tuple[str, np.ndarray]]:
    """Return the array of each variable, and a name without the numbers that Keras counts up."""
    import keras

    counts: dict[str, int] = {}
    pairs = []
    for variable in variables:
        name = re.sub(r"_\d+(?=\.)", "", ".".join(variable.path.split("/")[-2:]))
        counts[name] = counts.get(name, 0) + 1
        numbered = f"{name} {counts[name]}" if counts[name] > 1 else name
        pairs.append((numbered, np.asarray(keras.ops.convert_to_numpy(variable.value))))
    return pairs


def _assign(variables: Sequence[Any], arrays: Sequence[np.ndarray]) -> None:
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
