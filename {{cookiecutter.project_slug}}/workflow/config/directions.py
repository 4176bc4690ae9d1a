"""Whether what stops a training early takes the same values for better as the config does."""

from typing import Any

from ..deciding_metric import DecidingMetric
from .values import ConfigError


def require_direction(settings: dict[str, Any]) -> None:
    """Refuse an early stopping that would take the best epoch for the worst.

    Raises:
        ConfigError: names the key of its mode.
    """
    deciding = DecidingMetric(**settings["metric"])
    for name, node in settings["callbacks"].items():
        if node is None or not str(node["_target_"]).endswith(".EarlyStopping"):
            continue
        # Keras calls it val_NAME.
        watched = str(node.get("monitor")).replace("val_", "val/", 1) == deciding.in_training
        if watched and node.get("mode", "min") != deciding.mode:
            raise ConfigError(f"callbacks.{name}.mode", f"must be {deciding.mode}, as metric.mode")
