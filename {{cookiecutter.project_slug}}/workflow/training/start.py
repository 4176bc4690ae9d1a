"""What a training starts from: the checkpoint of a past run, as the config's `train` says."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config.values import ConfigError
from ..dotted import flatten, select
from ..errors import CommandError
from ..paths import PREPARED_DATA

if TYPE_CHECKING:
    from .checkpoints import Checkpoint, Read

Shapes = Mapping[str, tuple[int, ...]]  # of each weight of a network, by its name

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
    def description(self) -> str:
        """What a training that starts from it prints."""
        name, epochs = self.checkpoint.name, self.checkpoint.content.epochs
        if self.resumes:
            return f"resuming from {name} after epoch {epochs}"
        return f"starting from the weights of {name}"

    @property
    def fingerprint(self) -> str:
        return f"{self.key} {self.checkpoint.sha256}"

    @property
    def provenance(self) -> dict[str, Any]:
        """Return what the run records of it: the name, the W&B run, the checkpoint's SHA-256."""
        checkpoint = self.checkpoint
        values = {"name": checkpoint.name, "run": checkpoint.run, "checkpoint": checkpoint.sha256}
        return {RECORDED[self.key]: values}

    def require_data(self, hashes: Mapping[str, str]) -> None:
        """Raise ConfigError if it resumes what was trained on other data than `hashes` name."""
        path = PREPARED_DATA.as_posix()
        trained = self.checkpoint.data.get(path)
        if self.resumes and trained and trained != hashes.get(path):
            raise self._refused(f"was trained on other data, {path} {trained}{self._advice}")

    def require_same(self, config: Mapping[str, Any], keys: Sequence[str]) -> None:
        """Raise ConfigError if a value of these keys of the config is another one."""
        trained = self.checkpoint.content.config
        for key in keys:
            before, now = (flatten({key: node.get(key)}) for node in (trained, config))
            for name in before | now:
                old, new = before.get(name), now.get(name)
                if old != new:
                    raise self._refused(f"has {name}={old}, this config has {new}{self._advice}")

    def require_epochs_left(self, config: Mapping[str, Any], key: str) -> None:
        """Raise ConfigError if as many epochs are trained as the config has at `key`."""
        epochs, limit = self.checkpoint.content.epochs, select(config, key.split("."))
        if epochs >= limit:
            raise self._refused(f"is at epoch {epochs}: {key}={limit} leaves none to train")

    def require_shapes(self, shapes: Shapes) -> None:
        """Raise ConfigError if a network with weights of these shapes cannot take its weights."""
        trained = self.checkpoint.content.shapes
        for name in {**shapes, **trained}:
            old, new = trained.get(name), shapes.get(name)
            if old != new:
                before, now = (f"of shape {shape}" if shape else "none" for shape in (old, new))
                older = self._advice if self._is_before_kinds else ""
                raise self._refused(f"has {before} as {name}, this model {now}{older}")

    @property
    def _is_before_kinds(self) -> bool:
        """Whether it is of a version before 2.0.0, whose networks named their weights otherwise."""
        return "inputs" not in self.checkpoint.content.config.get("data", {})

    @property
    def _advice(self) -> str:
        """Return what can be done with it instead."""
        if self._is_before_kinds:
            run = self.checkpoint.run or self.checkpoint.name
            return f"; a version before 2.0.0 trained it, whose code can: inv restore {run}"
        return f"; for its weights alone: train.init_from={self.checkpoint.name}"

    def _refused(self, problem: str) -> ConfigError:
        return ConfigError(self.key, f"{self.checkpoint.name} {problem}")


def load(
    config: Mapping[str, Any],
    read: "Read",
    same: Sequence[str],
    epochs: str,
    shapes: Callable[[], Shapes] | None = None,
) -> Start | None:
    """Return what a training of this config starts from, or None where nothing is named.

    Args:
        read: reads a checkpoint as the config's framework writes it.
        same: keys of the config that have to be those of the run to resume from.
        epochs: key of the number of epochs, such as `trainer.max_epochs`.
        shapes: makes the config's network, and returns the shapes of its weights; without it,
            the caller has to compare them.

    Raises:
        ConfigError: it is not available, or the config does not fit it.
    """
    if (key := named_key(config)) is None:
        return None
    from . import checkpoints

    try:
        start = Start(key, checkpoints.load(_named(config, key), config["framework"], read))
    except CommandError as error:
        raise ConfigError(key, str(error)) from None
    if start.resumes:
        start.require_same(config, same)
        start.require_epochs_left(config, epochs)
    elif shapes:
        start.require_shapes(shapes())
    return start


def pin_start(config: MutableMapping[Any, Any]) -> bool:
    """Name the commit in the config where a branch or `HEAD` is named; return whether one was.

    Raises:
        ConfigError: the pipeline could not start from what is named.
    """
    if (key := named_key(config)) is None:
        return False
    from . import checkpoints

    name = _named(config, key)
    try:
        pinned = checkpoints.pin(name)
    except CommandError as error:
        raise ConfigError(key, str(error)) from None
    config["train"][key.removeprefix("train.")] = pinned
    return pinned != name


def named_key(config: Mapping[Any, Any]) -> str | None:
    """Return the key that names a run or a file to start from."""
    if "train" not in config:  # a framework without epochs has nothing to start from
        return None
    if config["train"]["init_from"] is not None:
        return "train.init_from"
    return None if config["train"]["resume"] in ("latest", "never") else "train.resume"


def _named(config: Mapping[Any, Any], key: str) -> str:
    return str(config["train"][key.removeprefix("train.")])
