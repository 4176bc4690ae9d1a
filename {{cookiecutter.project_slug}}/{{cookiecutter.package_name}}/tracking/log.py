"""The history of a W&B run: every row once and in order, however often training was interrupted."""

from typing import Any

import lightning as L
import wandb
from lightning.pytorch.trainer.states import TrainerFn


class RunLog(L.Callback):
    """Logs the loss every few steps and all measures every epoch.

    The rows are kept in the checkpoint. A resumed training logs those that the interrupted one had
    not written to the disk: those from `first_step` on.
    """

    def __init__(self, first_step: int = 0) -> None:
        self._first_step = first_step
        self._rows: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Not when training starts: after the last epoch there is none to start.
        for row in self._rows:
            self._send(trainer, row)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any
    ) -> None:
        step = trainer.global_step
        if step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            loss = float(outputs["loss"])
            self._record(trainer, {"step": step, "train/step_loss": loss})

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            measures = {name: float(value) for name, value in trainer.callback_metrics.items()}
            row = {"step": trainer.global_step, "epoch": trainer.current_epoch, **measures}
            self._record(trainer, row)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._rows = state_dict["rows"]

    def _record(self, trainer: L.Trainer, row: dict[str, Any]) -> None:
        self._rows.append(row)
        self._send(trainer, row)

    def _send(self, trainer: L.Trainer, row: dict[str, Any]) -> None:
        if not trainer.is_global_zero or not wandb.run:
            return
        if row["step"] >= self._first_step:
            values = {name: value for name, value in row.items() if name != "step"}
            wandb.run.log(values, step=row["step"])
