"""Checkpoints within an epoch, so that a killed training of long epochs loses some minutes."""

import time
from pathlib import Path
from typing import Any

import lightning as L
import torch

from ..errors import CommandError
from .callbacks import StopDiverged


class MidEpochCheckpoint(L.Callback):
    """Writes a checkpoint to resume from, where the last one is some minutes old.

    The losses are checked before, so nothing of it has diverged. Beside what Lightning keeps it
    has, of each process, the state of the random numbers, and the losses of the epoch so far: those
    of the model's `train_losses`.
    """

    def __init__(self, path: Path, minutes: float, losses: StopDiverged) -> None:
        self._path = path
        self._losses = losses
        self._seconds = 60 * minutes
        self._written = time.monotonic()
        self._step = 0
        self._states: list[dict[str, Any]] = []  # of each process; none at the end of an epoch

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._step = trainer.global_step
        states, self._states = self._states, []
        if not states:
            return
        if len(states) != trainer.world_size:
            here = f"{len(states)} processes, here are {trainer.world_size}"
            raise CommandError(f"it was interrupted within an epoch of {here}: train.resume=never")
        _restore(states[trainer.global_rank], pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._written = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any
    ) -> None:
        every = max(1, trainer.log_every_n_steps)  # type: ignore[attr-defined]
        has_stepped, self._step = trainer.global_step != self._step, trainer.global_step
        if trainer.is_last_batch or not has_stepped or trainer.global_step % every:
            return
        is_due = time.monotonic() - self._written >= self._seconds
        if trainer.strategy.broadcast(is_due):  # the clock of the first process is that of all
            self._losses.check(trainer)
            self._states = _gather(trainer, _take(pl_module))
            trainer.save_checkpoint(self._path)
            self._states = []
            self._written = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"states": self._states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._states = state_dict["states"]


def _take(model: L.LightningModule) -> dict[str, Any]:
    """Return what a process has at this moment."""
    state = {"random": torch.get_rng_state(), "losses": [*_losses(model)]}
    if model.device.type != "cpu":
        state["random on device"] = torch.get_device_module(model.device).get_rng_state()
    return state


def _restore(state: dict[str, Any], model: L.LightningModule) -> None:
    torch.set_rng_state(state["random"].cpu())
    if model.device.type != "cpu":
        device_module = torch.get_device_module(model.device)
        device_module.set_rng_state(state["random on device"].cpu())
    _losses(model)[:] = [loss.to(model.device) for loss in state["losses"]]


def _losses(model: L.LightningModule) -> list[torch.Tensor]:
    return getattr(model, "train_losses", [])


def _gather(trainer: L.Trainer, state: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the states of all processes."""
    if trainer.world_size == 1:
        return [state]
    states: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(states, state)
    return states
