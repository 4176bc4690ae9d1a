"""The history of a W&B run: every row once and in order, however often training was interrupted."""

from typing import Any

import lightning as L
import torch
import wandb
from lightning.pytorch.trainer.states import TrainerFn

from ..training.session import DivergedError
from .pending import Pending


class RunLog(L.Callback):
    """Logs the loss every few steps and all metrics every epoch.

    A loss is read when the next one is to be logged: a GPU has computed it by then.

    The rows are kept in the checkpoint. A resumed training logs those that the interrupted one had
    not written to the disk: those from `first_step` on.
    """

    def __init__(self, first_step: int = 0) -> None:
        self._first_step = first_step
        self._rows: list[dict[str, Any]] = []
        self._losses: list[torch.Tensor] = []  # of the batches since the last optimizer step
        self._stepped = 0
        self._pending: tuple[int, Pending] | None = None  # of the step, and its loss
        self._after = 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Not when training starts: after the last epoch there is none to start.
        for row in self._rows:
            self._send(trainer, row)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stepped = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any
    ) -> None:
        step, every = trainer.global_step, trainer.log_every_n_steps  # type: ignore[attr-defined]
        self._losses.append(outputs["loss"].detach())
        if step == self._stepped:  # gradients are accumulated
            return
        losses, self._losses, self._stepped = self._losses, [], step
        if every and step % every == 0:
            self._record_pending(trainer)
            # Lightning has divided each by the number of batches of a step.
            loss = torch.stack(losses).mean() * trainer.accumulate_grad_batches
            self._pending = step, Pending(loss)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._record_pending(trainer)
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            row = {"step": trainer.global_step, "epoch": trainer.current_epoch, **metrics}
            self._record(trainer, row)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, DivergedError):
            self._record_pending(trainer)

    def add(self, trainer: L.Trainer, values: dict[str, Any]) -> None:
        """Log what comes after the training, such as a picture of its result, in a row of its own.

        In a resumed run each has the step that it had before: nothing is logged twice.
        """
        self._after += 1
        self._send(trainer, {"step": trainer.global_step + self._after, **values})

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self._rows + self._pending_rows()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._rows = state_dict["rows"]

    def _pending_rows(self) -> list[dict[str, Any]]:
        if self._pending is None:
            return []
        step, loss = self._pending
        return [{"step": step, "train/step_loss": loss.read()}]

    def _record_pending(self, trainer: L.Trainer) -> None:
        for row in self._pending_rows():
            self._record(trainer, row)
        self._pending = None

    def _record(self, trainer: L.Trainer, row: dict[str, Any]) -> None:
        self._rows.append(row)
        self._send(trainer, row)

    def _send(self, trainer: L.Trainer, row: dict[str, Any]) -> None:
        if not trainer.is_global_zero or not wandb.run:
            return
        if row["step"] >= self._first_step:
            values = {name: value for name, value in row.items() if name != "step"}
            wandb.run.log(values, step=row["step"])
