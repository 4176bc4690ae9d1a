"""The network that conf/model/ names: made, also from elsewhere; and whether it fits the data."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from annotated_types import Ge
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import Tensor, nn

from ..config.values import ConfigError
from ..errors import one_line
from ..shards import Rows

TOGETHER = 32  # tensors that are kept as one


class PlainModule(nn.Module):
    """A module that takes tensors and not inputs by name: it gets them in the order of the data.

    Images are (n, channels, rows, columns), features (n, width), texts bytes (n, length).
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.module(*inputs.values())


class ByteModel(nn.Module):
    """A pretrained model of texts that reads bytes, and a linear layer on the mean of its states.

    Such as ByT5 (Xue et al., 2022). A model that reads words, or parts of words, has a tokenizer,
    which the exported file cannot hold.
    """

    def __init__(
        self,
        inputs: dict[str, Any],
        target: dict[str, Any],
        encoder: Any,
        offset: Annotated[int, Ge(0)],
    ) -> None:
        """`encoder` is a model of transformers; the token of a byte is the byte plus `offset`.

        Token 0 is the padding.
        """
        super().__init__()
        kinds = [declared["kind"] for declared in inputs.values()]
        if kinds != ["text"]:
            raise ValueError(f"ByteModel takes one text, data.inputs has {', '.join(kinds)}")
        (self.name,) = inputs
        self.encoder = encoder
        self.offset = offset
        self.head = nn.Linear(encoder.config.hidden_size, output_size(target))

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        texts = inputs[self.name]
        mask = (texts != 0).long()
        tokens = (texts + self.offset) * mask
        states = self.encoder(input_ids=tokens, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(2).to(states.dtype)
        return self.head((states * weights).sum(1) / weights.sum(1).clamp(min=1))


def make_network(node: dict[str, Any]) -> nn.Module:
    """Make the network that the config's `model` names.

    Raises:
        ConfigError: it cannot be made of these values, or what it is read from is not available.
    """
    try:
        return instantiate(node)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ImportError | OSError | RuntimeError | TypeError | ValueError):
            raise ConfigError("model", one_line(cause)) from error
        raise


def output_size(target: Mapping[str, Any]) -> int:
    """Return how many numbers a network returns for a sample of the config's `data.target`."""
    return len(target["names"]) if target["kind"] == "classes" else 1


class Kept(list[Tensor]):
    """Tensors (n, …) that are kept until an epoch ends: of each few of them, one is made.

    A small one lies where a batch was. The next batch does not fit there any more: with each by
    itself, every step would take new memory.
    """

    _single = 0

    def append(self, tensor: Tensor) -> None:
        super().append(tensor)
        self._single += 1
        if self._single == TOGETHER:
            self[-TOGETHER:] = [torch.cat(self[-TOGETHER:])]
            self._single = 0


def require_fit(
    network: nn.Module,
    preprocess: nn.Module,
    inputs: Mapping[str, Rows],
    target: Mapping[str, Any],
) -> None:
    """Try a network on the first two samples, before a run starts; it is left in training mode.

    Args:
        preprocess: makes what the network takes of raw inputs.
        inputs: raw ones by name, (n, …) each.
        target: the config's `data.target`.

    Raises:
        ConfigError: the network does not take these inputs, or does not return (n, outputs).
    """
    tensors = preprocess({name: torch.as_tensor(rows[:2]) for name, rows in inputs.items()})
    module = network.module if isinstance(network, PlainModule) else network
    name = type(module).__name__
    network.eval()
    try:
        with torch.no_grad():
            answers = network(tensors)
    except (RuntimeError, TypeError, ValueError) as error:
        shapes = ", ".join(f"{key} {_shape(tensor)}" for key, tensor in tensors.items())
        raise ConfigError("model", f"{name} does not take {shapes}: {one_line(error)}") from error
    network.train()
    if not isinstance(answers, Tensor):
        raise ConfigError("model", f"{name} returns a {type(answers).__name__}, not a tensor")
    if answers.shape[1:] != (output_size(target),):
        needed = f"(n, {output_size(target)}) for data.target"
        raise ConfigError("model", f"{name} returns {_shape(answers)}, and not {needed}")


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(['n', *map(str, tensor.shape[1:])])})"
