"""The learning rate over a training, as conf/scheduler/ says."""

from typing import Any

from hydra.utils import instantiate
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LinearLR, ReduceLROnPlateau, SequentialLR

from ..config.values import ConfigError

FIRST = 0.01  # of the optimizer's learning rate, where a warm-up starts


def with_schedule(optimizer: Optimizer, config: dict[str, Any]) -> Any:
    """Return what `configure_optimizers` returns: the optimizer, and its schedule if it has one.

    The schedule's state is in Lightning's checkpoints: a resumed training continues it.

    Args:
        config: the composed config, of which `scheduler` is read.

    Raises:
        ConfigError: the schedule is one that Lightning does not resume where it was.
    """
    scheduler = config["scheduler"]
    schedules: list[Any] = []
    if scheduler["warmup"]:
        schedules.append(LinearLR(optimizer, FIRST, total_iters=scheduler["warmup"]))
    if scheduler["schedule"]:
        schedules.append(instantiate(scheduler["schedule"], _partial_=True)(optimizer))
    if not schedules:
        return optimizer
    schedule = schedules[-1]
    if isinstance(schedule, ReduceLROnPlateau):
        # Lightning keeps its checkpoint before this one is stepped, and skips that step afterwards.
        problem = "ReduceLROnPlateau does not resume where it was: choose one that counts epochs"
        raise ConfigError("scheduler.schedule", problem)
    if len(schedules) > 1:
        schedule = SequentialLR(optimizer, schedules, [scheduler["warmup"]])
    lr_scheduler = {"scheduler": schedule, "interval": scheduler["interval"]}
    return {"optimizer": optimizer, "lr_scheduler": lr_scheduler}
