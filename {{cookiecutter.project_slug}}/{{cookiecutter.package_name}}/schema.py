"""The keys and types that a config may have. A wrong one is refused before anything runs."""

import difflib
from dataclasses import dataclass, field, fields
from typing import Any, cast

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .serving.settings import Settings as Serving


class ConfigError(Exception):
    """A key of the config is unknown, missing or of the wrong type; the text says which."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


@dataclass
class Data:
    name: str = MISSING
    image_shape: tuple[int, int] = MISSING  # rows, columns
    max_value: int = MISSING
    classes: list[str] = MISSING
    validation_share: float = MISSING
    test_share: float = MISSING


@dataclass
class Loader:
    batch_size: int = MISSING
    workers: int = MISSING
    shuffle: bool = MISSING


@dataclass
class Trainer:
    accelerator: str = MISSING
    devices: Any = MISSING  # a number, -1 for all, or a list of indices
    strategy: str = MISSING
    precision: str = MISSING
    max_epochs: int = MISSING
    gradient_clip_val: float | None = MISSING
    accumulate_grad_batches: int = MISSING
    limit_train_batches: Any = MISSING  # a number of batches (int) or a share (float)
    limit_val_batches: Any = MISSING
    log_every_n_steps: int = MISSING
    profiler: str | None = MISSING
    deterministic: Any = MISSING  # true, false or warn
    threads: int = MISSING


@dataclass
class Train:
    resume: str = MISSING  # latest, never, a run, or the path of a checkpoint
    init_from: str | None = MISSING  # a run, or the path of a checkpoint


@dataclass
class Tracking:
    mode: str = MISSING
    project: str = MISSING
    entity: str | None = MISSING
    tags: list[str] = MISSING


@dataclass
class Export:
    samples: int = MISSING


@dataclass
class Config:
    data: Data = field(default_factory=Data)
    loader: Loader = field(default_factory=Loader)
    model: dict[str, Any] = MISSING
    optimizer: dict[str, Any] = MISSING
    trainer: Trainer = field(default_factory=Trainer)
    train: Train = field(default_factory=Train)
    callbacks: dict[str, Any] = field(default_factory=dict)
    tracking: Tracking = field(default_factory=Tracking)
    export: Export = field(default_factory=Export)
    serving: Serving = MISSING
    seed: int = MISSING


# What the class that `_target_` names takes. A class of your own needs no entry;
# with one, its keys are checked before the run starts, not when the class is made.


@dataclass
class MLP:
    image_shape: tuple[int, int] = MISSING
    classes: list[str] = MISSING
    hidden: list[int] = MISSING
    dropout: float = MISSING


@dataclass
class CNN:
    image_shape: tuple[int, int] = MISSING
    classes: list[str] = MISSING
    channels: tuple[int, int] = MISSING
    dropout: float = MISSING


@dataclass
class AdamW:
    lr: float = MISSING
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    fused: bool | None = None


@dataclass
class SGD:
    lr: float = MISSING
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    fused: bool | None = None


@dataclass
class EarlyStopping:
    monitor: str = MISSING
    mode: str = "min"
    patience: int = 3
    min_delta: float = 0.0


@dataclass
class NoArguments:
    pass


@dataclass
class PredictionsTable:
    rows: int = MISSING


_PACKAGE = __package__
TARGETS: dict[str, type] = {
    f"{_PACKAGE}.model.MLP": MLP,
    f"{_PACKAGE}.model.CNN": CNN,
    "torch.optim.AdamW": AdamW,
    "torch.optim.SGD": SGD,
    "lightning.pytorch.callbacks.EarlyStopping": EarlyStopping,
    f"{_PACKAGE}.callbacks.EpochProgress": NoArguments,
    f"{_PACKAGE}.tracking.callbacks.Throughput": NoArguments,
    f"{_PACKAGE}.tracking.callbacks.StopReason": NoArguments,
    f"{_PACKAGE}.tracking.callbacks.PredictionsTable": PredictionsTable,
    f"{_PACKAGE}.tracking.callbacks.ConfusionMatrix": NoArguments,
    f"{_PACKAGE}.tracking.callbacks.CheckpointArtifact": NoArguments,
}
CHOICES = {
    "tracking.mode": ("auto", "online", "offline", "disabled"),
}


def validate(config: DictConfig) -> None:
    """Resolve a composed config and check its keys, types and choices.

    Raises:
        ConfigError: names the first key that is wrong, and the nearest right name.
    """
    OmegaConf.resolve(config)
    checked = _merge(Config, config, prefix="")
    for group in ("model", "optimizer"):
        _validate_target(config[group], group)
    for name in config.callbacks:
        if config.callbacks[name] is not None:
            _validate_target(config.callbacks[name], f"callbacks.{name}")
    for key, choices in CHOICES.items():
        value = OmegaConf.select(checked, key)
        if value not in choices:
            raise ConfigError(key, f"{value!r} is not one of {', '.join(choices)}")
    _validate_values(checked)


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a config as plain types, its interpolations resolved."""
    return cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))


def nearest(name: str, names: list[str]) -> str:
    """Say which of `names` was probably meant, in words to put behind a complaint."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(sorted(names))}" if names else "it takes no keys"


def keys_beside(key: str) -> list[str]:
    """Return the names that may stand where the last part of the dotted `key` stands."""
    node: Any = Config
    for part in key.split(".")[:-1]:
        types = {f.name: f.type for f in fields(node)}
        node = types.get(part)
        if not isinstance(node, type) or not hasattr(node, "__dataclass_fields__"):
            return []
    return [f.name for f in fields(node)]


def _validate_target(node: Any, key: str) -> None:
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    if not isinstance(target, str):
        raise ConfigError(key, "needs _target_, the import path of the class to make")
    schema = TARGETS.get(target)
    if schema is not None:
        arguments = plain(node)
        del arguments["_target_"]
        _merge(schema, OmegaConf.create(arguments), prefix=f"{key}.")


def _merge(schema: type, node: DictConfig, prefix: str) -> DictConfig:
    known = [f.name for f in fields(schema)]
    for name in node:
        if name not in known:
            raise ConfigError(f"{prefix}{name!s}", f"no such key; {nearest(str(name), known)}")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), node)
        missing = OmegaConf.missing_keys(merged)
    except OmegaConfBaseException as error:
        key = f"{prefix}{error.full_key}"
        last = str(error.key)
        siblings = keys_beside(key)
        if siblings and last not in siblings:
            raise ConfigError(key, f"no such key; {nearest(last, siblings)}") from error
        raise ConfigError(key, str(error.msg).splitlines()[0]) from error
    if missing:
        raise ConfigError(f"{prefix}{min(missing)}", "is missing")
    assert isinstance(merged, DictConfig)
    return merged


def _validate_values(config: DictConfig) -> None:
    data = config.data
    for key in ("validation_share", "test_share"):
        if not 0 < data[key] < 1:
            raise ConfigError(f"data.{key}", f"{data[key]} is not between 0 and 1")
    if data.validation_share + data.test_share >= 1:
        raise ConfigError("data.test_share", "leaves nothing to train on beside validation_share")
    train = config.train
    if train.init_from is not None and train.resume not in ("latest", "never"):
        raise ConfigError("train.init_from", "train.resume has weights of its own: leave one out")
    for key in ("loader.batch_size", "trainer.max_epochs", "trainer.threads"):
        if OmegaConf.select(config, key) < 1:
            raise ConfigError(key, "must be at least 1")
    if config.export.samples < 0:
        raise ConfigError("export.samples", "must be at least 0")
    clips = config.trainer.gradient_clip_val and "mixed" in config.trainer.precision
    if clips and config.optimizer.get("fused"):
        raise ConfigError(
            "optimizer.fused", "must be false to clip gradients (trainer.gradient_clip_val) in bf16"
        )
