"""The learning rate over a training, as conf/scheduler/ says."""

from typing import Any

import keras
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from keras import ops

from ..config.values import ConfigError
from ..errors import one_line

FIRST = 0.01  # of the optimizer's learning rate, where a warm-up starts


class WithWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """Rises to the optimizer's learning rate, and follows a schedule from there on.

    It is a function of the optimizer's steps, which are in a checkpoint: a resumed training
    continues it.
    """

    def __init__(self, peak: float, warmup: int, schedule: Any, interval: int) -> None:
        """`interval` is the number of steps after which the rate changes.

        `schedule` takes the number of intervals since the end of the warm-up; None keeps `peak`.
        """
        self._peak, self._warmup, self._schedule = peak, warmup, schedule
        self._interval = interval

    def __call__(self, step: Any) -> Any:
        intervals = ops.floor(ops.cast(step, "float32") / self._interval)
        after = ops.maximum(intervals - self._warmup, 0.0)
        follows = self._schedule(after) if self._schedule else self._peak
        if not self._warmup:
            return follows
        risen = self._peak * (FIRST + (1 - FIRST) * intervals / self._warmup)
        return ops.where(intervals < self._warmup, risen, follows)


def make_optimizer(config: dict[str, Any], steps: int) -> Any:
    """Return the optimizer of a config, with its schedule.

    Args:
        config: the composed config, of which `optimizer` and `scheduler` are read.
        steps: of an epoch.

    Raises:
        ConfigError: one of them cannot be made of these values.
    """
    scheduler, node = config["scheduler"], config["optimizer"]
    schedule = _made("scheduler.schedule", scheduler["schedule"])
    if scheduler["warmup"] or schedule:
        interval = steps if scheduler["interval"] == "epoch" else 1
        peak = node["learning_rate"]
        rate = WithWarmup(peak, scheduler["warmup"], schedule, interval)
        return _made("optimizer", node, learning_rate=rate)
    return _made("optimizer", node)


def _made(key: str, node: Any, **others: Any) -> Any:
    if node is None:
        return None
    try:
        return instantiate(node, **others)
    except InstantiationException as error:
        raise ConfigError(key, one_line(error.__cause__ or error)) from None
