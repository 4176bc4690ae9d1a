"""How a training finds its place among several processes."""

import os
from typing import TYPE_CHECKING

from ..ranks import is_rank

if TYPE_CHECKING:
    from lightning.fabric.plugins import ClusterEnvironment


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
