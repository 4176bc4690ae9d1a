"""What a training starts from: the checkpoint of a past run, as the config's `train` says."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config.values import ConfigError
from ..dotted import flatten
from ..errors import CommandError
from ..paths import PREPARED_DATA

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .checkpoints import Checkpoint

NETWORK = "network."  # starts the names of the network's weights in a checkpoint
RECORDED = {"train.resume": "resumed_from", "train.init_from": "initialized_from"}


@dataclass(frozen=True)
class Start:
    """The checkpoint that a training starts from, and the key that asks for it."""

    key: str
    checkpoint: "Checkpoint"

    @property
    def resumes(self) -> bool:
        """Whether the training resumes from there; otherwise it takes the weights alone."""
        return self.key == "train.resume"

    @property
    def fingerprint(self) -> str:
        return f"{self.key} {self.checkpoint.sha256}"

    @property
    def provenance(self) -> dict[str, Any]:
        """Return what the run records of it: the name, the W&B run, the checkpoint's SHA-256."""
        found = self.checkpoint
        values = {"name": found.name, "run": found.run, "checkpoint": found.sha256}
        return {RECORDED[self.key]: values}

    def require_data(self, hashes: dict[str, str]) -> None:
        """Raise ConfigError if it resumes what was trained on other data than `hashes` name."""
        path = PREPARED_DATA.as_posix()
        trained = self.checkpoint.data.get(path)
        if self.resumes and trained and trained != hashes.get(path):
            raise self._refused(f"was trained on other data, {path} {trained}{self._weights_alone}")

    def require_config(self, config: dict[str, Any]) -> None:
        """Raise ConfigError if the config does not fit the checkpoint."""
        if self.resumes:
            self._require_same(config)
        else:
            self._require_shapes(config)

    def initialize(self, network: "nn.Module") -> None:
        """Give the network the weights of the checkpoint."""
        network.load_state_dict(self._weights())

    def _weights(self) -> "dict[str, Tensor]":
        weights = self.checkpoint.content["state_dict"].items()
        return {n.removeprefix(NETWORK): value for n, value in weights if n.startswith(NETWORK)}

    def _require_same(self, config: dict[str, Any]) -> None:
        trained = self.checkpoint.content["hyper_parameters"]["config"]
        for group in ("data", "model", "optimizer", "scheduler", "seed"):
            before, now = (flatten({group: node[group]}) for node in (trained, config))
            for key in before | now:
                old, new = before.get(key), now.get(key)
                if old != new:
                    raise self._refused(f"has {key}={old}, this is {new}{self._weights_alone}")
        epochs, limit = self.checkpoint.epochs, config["trainer"]["max_epochs"]
        if epochs >= limit:
            more = f"trainer.max_epochs={limit} leaves none to train"
            raise self._refused(f"is at epoch {epochs}: {more}")

    def _require_shapes(self, config: dict[str, Any]) -> None:
        from .networks import make_network

        here = {n: tuple(t.shape) for n, t in make_network(config["model"]).state_dict().items()}
        there = {name: tuple(tensor.shape) for name, tensor in self._weights().items()}
        for name in here | there:
            old, new = there.get(name), here.get(name)
            if old != new:
                shapes = (f"of shape {shape}" if shape else "none" for shape in (old, new))
                raise self._refused("has {} as {name}, this model {}".format(*shapes, name=name))

    @property
    def _weights_alone(self) -> str:
        return f"; for its weights alone: train.init_from={self.checkpoint.name}"

    def _refused(self, problem: str) -> ConfigError:
        return ConfigError(self.key, f"{self.checkpoint.name} {problem}")


def load_start(config: dict[str, Any]) -> Start | None:
    """Return what a training of this config starts from, or None where nothing is named.

    Raises:
        ConfigError: it is not available, or the config does not fit it.
    """
    if (key := _key(config)) is None:
        return None
    from . import checkpoints

    try:
        start = Start(key, checkpoints.load(_named(config, key)))
    except CommandError as error:
        raise ConfigError(key, str(error)) from None
    start.require_config(config)
    return start


def pin_start(config: MutableMapping[Any, Any]) -> bool:
    """Name the commit in the config where a branch or `HEAD` is named; return whether one was.

    Raises:
        ConfigError: the pipeline could not start from what is named.
    """
    if (key := _key(config)) is None:
        return False
    from . import checkpoints

    name = _named(config, key)
    try:
        pinned = checkpoints.pin(name)
    except CommandError as error:
        raise ConfigError(key, str(error)) from None
    config["train"][key.removeprefix("train.")] = pinned
    return pinned != name


def _key(config: Mapping[Any, Any]) -> str | None:
    """Return the key that names a run or a file."""
    if "train" not in config:  # a framework without epochs has nothing to start from
        return None
    if config["train"]["init_from"] is not None:
        return "train.init_from"
    return None if config["train"]["resume"] in ("latest", "never") else "train.resume"


def _named(config: Mapping[Any, Any], key: str) -> str:
    return str(config["train"][key.removeprefix("train.")])
