"""What happens around the training loop, whether the run is tracked or not."""

import csv
import math
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.trainer.states import TrainerFn

from ..config.schema import MEASURES


class DivergedError(Exception):
    """The loss is no finite number any more; the text says which loss, in which epoch and step."""


class EpochSeed(L.Callback):
    """Makes dropout a function of seed and epoch, so a resumed run equals an uninterrupted one."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Lightning leaves out `on_train_epoch_start` of the first epoch after a resume.
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epochs = trainer.current_epoch * trainer.world_size + trainer.global_rank
        torch.manual_seed(self.seed * 1_000_003 + epochs)


class StayStopped(L.Callback):
    """A training that early stopping had ended before a kill does not begin another epoch."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        stopper = trainer.early_stopping_callback
        if isinstance(stopper, EarlyStopping) and stopper.stopped_epoch:
            trainer.should_stop = True


class StopDiverged(L.Callback):
    """Ends a training whose loss is no finite number, before anything of that epoch is kept.

    The losses are read every `log_every_n_steps` and at the end of an epoch: to read one is to
    wait for the GPU.

    Raises:
        DivergedError: from the step, or the validation, that was found.
    """

    def __init__(self) -> None:
        self._losses: list[torch.Tensor] = []
        self._steps: list[int] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any
    ) -> None:
        self._losses.append(outputs["loss"].detach())
        self._steps.append(trainer.global_step)
        every = max(1, trainer.log_every_n_steps)  # type: ignore[attr-defined]
        if not trainer.is_last_batch and trainer.global_step % every:
            return
        losses, steps = torch.stack(self._losses).tolist(), self._steps
        self._losses, self._steps = [], []
        bad = [pair for pair in zip(losses, steps, strict=True) if not math.isfinite(pair[0])]
        # Every process ends, or the others would wait for this one.
        if trainer.strategy.reduce_boolean_decision(bool(bad), all=False):
            loss, step = bad[0] if bad else (math.nan, steps[-1])
            raise DivergedError(self._text(trainer, "train/loss", loss, step))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loss = float(trainer.callback_metrics["val/loss"])
        if trainer.state.fn == TrainerFn.FITTING and not math.isfinite(loss):
            raise DivergedError(self._text(trainer, "val/loss", loss, trainer.global_step))

    @staticmethod
    def _text(trainer: L.Trainer, name: str, loss: float, step: int) -> str:
        epoch = f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
        return f"{name} is {loss} in epoch {epoch}, step {step}"


class History(L.Callback):
    """Writes the measures of each epoch to a CSV file that DVC plots; survives a resume."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # DVC removed the file before this stage; after the last epoch no row is to come.
        if self.rows and trainer.is_global_zero:
            self._write()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        row = {name: round(float(trainer.callback_metrics[name]), 6) for name in MEASURES}
        self.rows.append({"epoch": trainer.current_epoch, **row})
        if trainer.is_global_zero:
            self._write()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]

    def _write(self) -> None:
        with self.path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["epoch", *MEASURES], lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)


class EpochProgress(L.Callback):
    """One line an epoch; in a terminal, the share of the running epoch once a second.

    Lightning's own bar is drawn after every step, which costs a small model a third of its
    throughput, and fills a log file with control characters.
    """

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._started = self._drawn = time.monotonic()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = self._drawn = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any
    ) -> None:
        if not self._terminal or time.monotonic() - self._drawn < 1:
            return
        self._drawn = time.monotonic()
        done = (args[1] + 1) / trainer.num_training_batches
        if trainer.is_global_zero:
            print(f"\r{self._epoch(trainer)}  {done:4.0%}", end="", flush=True)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or not trainer.is_global_zero:
            return
        loss, val_loss, accuracy = (float(trainer.callback_metrics[name]) for name in MEASURES)
        seconds = time.monotonic() - self._started
        start = "\r" if self._terminal else ""
        print(
            f"{start}{self._epoch(trainer)}  train loss {loss:.4f}  validation loss {val_loss:.4f}"
            f"  accuracy {accuracy:.3f}  {seconds:.2f} s",
            flush=True,
        )

    @staticmethod
    def _epoch(trainer: L.Trainer) -> str:
        width = len(str(trainer.max_epochs))
        return f"epoch {trainer.current_epoch + 1:{width}}/{trainer.max_epochs}"
