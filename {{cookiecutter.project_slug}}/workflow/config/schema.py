"""The keys, types and values that a config may have: a wrong one is refused before a run."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any, cast

from omegaconf import DictConfig, OmegaConf

from .. import credentials
from ..deciding_metric import DecidingMetric
from . import data_kinds, references, targets
from .values import (
    ConfigError,
    Rule,
    Signature,
    at_least,
    between,
    check,
    declared_in,
    inside,
    makes,
    one_of,
)

# Beside each key: its type, and which values of it are right. What repeats a list or a limit of a
# library is compared with it by a test, because importing the library would take seconds.
LARGEST_SEED = 2**32 - 1  # that NumPy takes


def _are_devices(value: Any) -> bool:
    if isinstance(value, list):
        indices = [index for index in value if type(index) is int and index >= 0]
        return len(set(indices)) == len(value) > 0
    return value == "auto" or (type(value) is int and (value == -1 or value >= 1))


def _is_limit(value: Any) -> bool:
    return (type(value) is int and value >= 1) or (type(value) is float and 0 < value <= 1)


def _is_file_name(name: str) -> bool:
    return bool(name.strip()) and not set(name) & set("/\\")


def _is_project(name: str) -> bool:
    return 1 <= len(name) <= 128 and not set(name) & set("/\\#?%:")


def _is_metric(name: str) -> bool:
    return bool(name.strip()) and not name.startswith(("train/", "val/", "test/"))


def _is_tag(name: str) -> bool:
    return 1 <= len(name) <= 64


DEVICES = Rule(
    _are_devices, "must be a number of devices, -1 (all), auto, or a list of indices", whole=True
)
LIMIT = Rule(
    _is_limit, "must be at least 1 batch, or a fraction such as 0.5, at most 1.0", whole=True
)


FILE_NAME = Rule(_is_file_name, "must be a file's name, without a folder")
PROJECT = Rule(_is_project, "must be 1 to 128 characters, without / \\ # ? % :")
METRIC = Rule(_is_metric, "must be a metric's name without its split, such as loss")
TAG = Rule(_is_tag, "must be 1 to 64 characters")


@dataclass(kw_only=True)
class Data:
    name: Annotated[str, FILE_NAME]  # of data/raw/NAME.npz
    inputs: dict[str, Any]  # of the kinds in data_kinds
    target: dict[str, Any]
    validation_fraction: Annotated[float, inside(0, 1)]
    test_fraction: Annotated[float, inside(0, 1)]


@dataclass(kw_only=True)
class Trainer:  # what the workflow relies on; trainer_keys has the others
    accelerator: Annotated[str, one_of("auto", "cpu", "gpu", "cuda", "mps", "tpu")]
    devices: Annotated[Any, DEVICES]
    # Others, such as fsdp, write checkpoints that `train` cannot resume from.
    strategy: Annotated[str, one_of("auto", "ddp", "ddp_find_unused_parameters_true")]
    # Not 16-true: in float16 the eps of Adam is 0, and the first step gives NaN.
    precision: Annotated[str, one_of("32-true", "bf16-mixed", "16-mixed", "64-true", "bf16-true")]
    max_epochs: Annotated[int, at_least(1)]
    gradient_clip_val: Annotated[float | None, at_least(0)]
    accumulate_grad_batches: Annotated[int, at_least(1)]
    limit_train_batches: Annotated[Any, LIMIT]
    limit_val_batches: Annotated[Any, LIMIT]
    log_every_n_steps: Annotated[int, at_least(1)]
    profiler: Annotated[str | None, one_of("simple", "advanced", "pytorch")]
    deterministic: Annotated[Any, one_of(True, False, "warn")]
    threads: Annotated[int, at_least(1)]
    compile: bool


@dataclass(kw_only=True)
class Metric:
    name: Annotated[str, METRIC]
    mode: Annotated[str, one_of("min", "max")]


@dataclass(kw_only=True)
class Scheduler:
    interval: Annotated[str, one_of("epoch", "step")]
    warmup: Annotated[int, at_least(0)]
    schedule: dict[str, Any] | None


@dataclass(kw_only=True)
class Train:
    resume: str  # latest, never, a run, or the path of a checkpoint
    init_from: str | None  # a run, or the path of a checkpoint


@dataclass(kw_only=True)
class Tracking:
    mode: Annotated[str, one_of("auto", "online", "offline", "disabled")]
    project: Annotated[str, PROJECT]
    entity: str | None
    tags: Annotated[list[str], TAG]


@dataclass(kw_only=True)
class Export:
    samples: Annotated[int, at_least(0)]


@dataclass(kw_only=True)
class Config:
    data: Data
    loader: dict[str, Any]
    model: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: Scheduler
    metric: Metric
    trainer: Trainer
    train: Train
    callbacks: dict[str, Any]
    tracking: Tracking
    export: Export
    seed: Annotated[int, between(0, LARGEST_SEED)]


# What `train` gives to lightning.Trainer itself, and what would leave a training no checkpoint.
NOT_IN_TRAINER = {
    *("barebones", "callbacks", "default_root_dir", "enable_checkpointing"),
    *("enable_model_summary", "enable_progress_bar", "fast_dev_run", "logger"),
    *("num_sanity_val_steps", "plugins", "use_distributed_sampler"),
}


def validate(config: DictConfig) -> None:
    """Resolve a composed config and check its keys, types, values and their combinations.

    No value is converted: what is accepted is used as it is.

    Raises:
        ConfigError: names the first key that is wrong, and the nearest right name.
    """
    references.resolve(config)
    settings = plain(config)
    _refuse_secrets(settings)  # before any other message repeats a value
    _check_keys(settings)
    data_kinds.validate(settings["data"])
    for group in ("loader", "model", "optimizer"):
        _require_target(settings[group], group)
    if settings["scheduler"]["schedule"] is not None:
        _require_target(settings["scheduler"]["schedule"], "scheduler.schedule")
    for name, node in settings["callbacks"].items():
        if node is not None:
            _require_target(node, f"callbacks.{name}")
            _validate_direction(node, f"callbacks.{name}", settings["metric"])
    targets.check_nodes(settings)
    _validate_combinations(settings)


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a config as plain types, its interpolations resolved."""
    return cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))


def keys_beside(key: str) -> list[str]:
    """Return the names that may stand where the last part of the dotted `key` stands."""
    node: Any = Config
    for part in key.split(".")[:-1]:
        types = {f.name: f.type for f in fields(node)}
        node = types.get(part)
        if not isinstance(node, type) or not hasattr(node, "__dataclass_fields__"):
            return []
    return [f.name for f in fields(node)]


def _refuse_secrets(settings: dict[str, Any]) -> None:
    """A config goes into params.yaml, which Git keeps, and into every run and model."""
    texts = list(_texts(settings))
    lines = [f"{key}: {' '.join(value.split())}" for key, value in texts]
    for secret in credentials.by_shape("\n".join(lines)):
        problem = f"is a secret ({secret.kind}), which Git and W&B would keep: put it in .env"
        raise ConfigError(texts[secret.line - 1][0], problem)


def _texts(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts in a config, each with the dotted key that it is under."""
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value, key)
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _texts(value, f"{key}.{name}" if key else str(name))


def _check_keys(settings: dict[str, Any]) -> None:
    """Check the keys above. What names a class with `_target_` may stand beside them."""
    known = declared_in(Config).parameters
    own = {name: node for name, node in settings.items() if name in known or not makes(node)}
    trainer = own.get("trainer")
    if isinstance(trainer, dict):
        required = declared_in(Trainer).parameters
        check(trainer_keys(*trainer), trainer, "trainer.")
        own["trainer"] = {name: trainer[name] for name in trainer if name in required}
    check(Config, own)


def trainer_keys(*used: str) -> Signature:
    """Return what `trainer` may hold: the keys above, and what else lightning.Trainer takes.

    Args:
        used: names of keys; where the ones above are enough for them, nothing else is read.
    """
    required = declared_in(Trainer).parameters
    if used and required.keys() >= {*used}:
        return Signature(required)
    taken = targets.signature_of("lightning.Trainer")
    others = {} if taken is None else taken.parameters
    return Signature(
        {name: others[name] for name in others if name not in NOT_IN_TRAINER} | required
    )


def _require_target(node: Any, key: str) -> None:
    if not makes(node):
        raise ConfigError(key, "needs _target_, the import path of the class to make")


def _validate_direction(node: dict[str, Any], key: str, metric: dict[str, Any]) -> None:
    """Refuse an early stopping that would take the best epoch for the worst."""
    if str(node["_target_"]).endswith(".EarlyStopping"):
        deciding = DecidingMetric(**metric)
        watched = node.get("monitor") == deciding.in_training
        if watched and node.get("mode", "min") != deciding.mode:
            raise ConfigError(f"{key}.mode", f"must be {deciding.mode}, as metric.mode")


def _validate_combinations(settings: dict[str, Any]) -> None:
    data, train, trainer = (settings[group] for group in ("data", "train", "trainer"))
    optimizer = settings["optimizer"]
    if data["validation_fraction"] + data["test_fraction"] >= 1:
        problem = "leaves nothing to train on beside validation_fraction"
        raise ConfigError("data.test_fraction", problem)
    if train["init_from"] is not None and train["resume"] not in ("latest", "never"):
        raise ConfigError("train.init_from", "train.resume has weights of its own: leave one out")
    if trainer["accelerator"] == "cpu" and (
        isinstance(trainer["devices"], list) or trainer["devices"] == -1
    ):
        raise ConfigError("trainer.devices", "must be a number of processes on a CPU")
    if trainer["gradient_clip_val"] and "mixed" in trainer["precision"] and optimizer.get("fused"):
        raise ConfigError(
            "optimizer.fused", "must be false to clip gradients (trainer.gradient_clip_val) in bf16"
        )
    if optimizer.get("nesterov") and not optimizer.get("momentum"):
        raise ConfigError("optimizer.nesterov", "needs a momentum (optimizer.momentum) above 0")
