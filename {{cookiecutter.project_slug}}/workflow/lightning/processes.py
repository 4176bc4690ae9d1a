"""How a training finds its place among several processes."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..ranks import is_rank

if TYPE_CHECKING:
    import lightning as L
    from lightning.fabric.plugins import ClusterEnvironment


@dataclass(frozen=True)
class Place:
    """Which process this is, and which batch of which epoch it trains on next."""

    rank: int = 0
    processes: int = 1
    epoch: int = 0
    batch: int = 0


def find_place(trainer: "L.Trainer | None") -> Place:
    """Return where a training is that starts or is resumed, also within an epoch."""
    if trainer is None:
        return Place()
    loop = trainer.fit_loop
    batches = loop.epoch_loop.batch_progress
    return Place(
        rank=trainer.global_rank,
        processes=trainer.world_size,
        epoch=loop.epoch_progress.current.processed,  # type: ignore[attr-defined]
        batch=0 if batches.is_last_batch else batches.current.ready,
    )


def job_environment() -> "list[ClusterEnvironment]":
    """Return how to find this process's place in a SLURM job; else Lightning finds it.

    Without Lightning's own answer to SLURM's signals, which is a checkpoint of its own that it
    loads in every later training. On one node, this process starts others itself.
    """
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return []
    if not is_rank() or os.environ["SLURM_NTASKS"] == "1":
        return [LightningEnvironment()]
    return [SLURMEnvironment(auto_requeue=False)]


def local_rank() -> int:
    """Return which of the processes of a training on this machine this one is, from 0 on."""
    return int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)
