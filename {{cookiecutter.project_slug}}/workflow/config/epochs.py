"""The keys of a config whose models are trained by epochs, whatever the framework."""

from dataclasses import dataclass
from typing import Annotated, Any

from ..deciding_metric import DecidingMetric
from .groups import BaseConfig
from .values import ConfigError, at_least, one_of


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
class EpochsConfig(BaseConfig):
    loader: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: Scheduler
    train: Train


TARGET_KEYS = ("loader", "model", "optimizer", "scheduler.schedule")  # of nodes with `_target_`


def validate(settings: dict[str, Any]) -> None:
    """Check what no key says alone.

    Raises:
        ConfigError: two values do not go together.
    """
    train, optimizer = settings["train"], settings["optimizer"]
    if train["init_from"] is not None and train["resume"] not in ("latest", "never"):
        raise ConfigError("train.init_from", "train.resume has weights of its own: leave one out")
    if optimizer.get("nesterov") and not optimizer.get("momentum"):
        raise ConfigError("optimizer.nesterov", "needs a momentum (optimizer.momentum) above 0")
    _require_direction(settings)


def _require_direction(settings: dict[str, Any]) -> None:
    """Refuse an early stopping that would take the best epoch for the worst."""
    deciding = DecidingMetric(**settings["metric"])
    for name, node in settings["callbacks"].items():
        if node is None or not str(node["_target_"]).endswith(".EarlyStopping"):
            continue
        # Keras calls it val_NAME.
        watched = str(node.get("monitor")).replace("val_", "val/", 1) == deciding.in_training
        if watched and node.get("mode", "min") != deciding.mode:
            raise ConfigError(f"callbacks.{name}.mode", f"must be {deciding.mode}, as metric.mode")
