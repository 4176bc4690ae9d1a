"""The network that conf/model/ names: made, also from elsewhere; and whether it fits the data."""

import warnings
from collections.abc import Mapping
from typing import Any

import keras
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from ..config.values import ConfigError
from ..errors import one_line


class PlainModel(keras.Model):
    """A model that takes tensors and not inputs by name: it gets them in the order of the data.

    Images are (n, rows, columns, channels), features (n, width), texts bytes (n, length).
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def call(self, inputs: Mapping[str, Any]) -> Any:
        tensors = [*inputs.values()]
        return self.model(tensors[0] if len(tensors) == 1 else tensors)


def make_network(node: dict[str, Any]) -> Any:
    """Make the network that the config's `model` names.

    Raises:
        ConfigError: it cannot be made of these values, or what it is read from is not available.
    """
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ImportError | OSError | RuntimeError | TypeError | ValueError):
            raise ConfigError("model", one_line(cause)) from error
        raise


def output_size(target: Mapping[str, Any]) -> int:
    """Return how many numbers a network returns for a sample of the config's `data.target`."""
    return len(target["names"]) if target["kind"] == "classes" else 1


def apply(network: Any, tensors: Mapping[str, Any], target: Mapping[str, Any]) -> Any:
    """Return what a network makes of what stands for its inputs: it is tried before a run starts.

    Args:
        tensors: preprocessed inputs by name, as symbolic tensors.
        target: the config's `data.target`.

    Raises:
        ConfigError: the network does not take these inputs, or does not return (n, outputs).
    """
    inner = network.model if isinstance(network, PlainModel) else network
    name = type(inner).__name__
    try:
        with warnings.catch_warnings(action="ignore"):  # of what is said in one line here
            answers = network(dict(tensors))
    except Exception as error:  # each backend has its own
        shapes = ", ".join(f"{key} {_shape(tensor)}" for key, tensor in tensors.items())
        raise ConfigError("model", f"{name} does not take {shapes}: {one_line(error)}") from error
    if not isinstance(answers, keras.KerasTensor):
        raise ConfigError("model", f"{name} returns a {type(answers).__name__}, not a tensor")
    if tuple(answers.shape[1:]) != (output_size(target),):
        needed = f"(n, {output_size(target)}) for data.target"
        raise ConfigError("model", f"{name} returns {_shape(answers)}, and not {needed}")
    return answers


def _shape(tensor: Any) -> str:
    return f"({', '.join(['n', *map(str, tensor.shape[1:])])})"
