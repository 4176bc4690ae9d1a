"""What a W&B run shows beyond its metrics: each class one thing, configured in conf/callbacks/.

After training, the best epoch is validated once more; what is drawn there is of that model.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import wandb
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from ..training import artifact
from ..training.best_model import Samples, View
from ..training.session import DivergedError
from ..trial import PrunedError
from .networks import Kept
from .run_log import RunLog


class Throughput(L.Callback):
    """Measures the training samples per second of each epoch, and the peak of the GPU's memory.

    W&B itself records the use of processor, memory and GPU.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._samples = 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = time.perf_counter()
        self._samples = 0

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: tuple[dict[str, Tensor], Tensor],
        batch_idx: int,
    ) -> None:
        self._samples += len(batch[1])

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        seconds = time.perf_counter() - self._started
        rate = self._samples * trainer.world_size / seconds
        pl_module.log("throughput/samples_per_s", rate, sync_dist=True)
        if torch.cuda.is_available():
            memory = torch.cuda.max_memory_allocated() / 2**30
            pl_module.log("throughput/gpu_memory_gib", memory, sync_dist=True)


class StopReason(L.Callback):
    """Records why the training ended: all epochs done, or what early stopping saw."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        reason = "max_epochs"
        stopper = trainer.early_stopping_callback
        if isinstance(stopper, EarlyStopping) and stopper.stopped_epoch:
            reason = f"no better {stopper.monitor} in {stopper.patience} epochs"
        if wandb.run:
            wandb.run.summary["stop_reason"] = reason


class ShowBestModel(L.Callback):
    """Logs views of what the best model answers on the validation split.

    The model's `validation_step` returns its answers: probabilities (n, classes) or values (n,).
    """

    def __init__(self, views: Sequence[View]) -> None:
        self._views = views
        self._targets, self._answers = Kept(), Kept()

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: tuple[dict[str, Tensor], Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._targets.append(batch[1].cpu())
            self._answers.append(outputs.cpu())

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._answers and trainer.is_global_zero:
            target, answers = torch.cat(self._targets).numpy(), torch.cat(self._answers).numpy()
            data = pl_module.hparams["config"]["data"]
            inputs = {name: _ReadAgain(trainer.val_dataloaders, name) for name in data["inputs"]}
            samples = Samples.of(data, inputs, target, answers)
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, RunLog):
                    for view in self._views:
                        if values := view.show(samples):
                            callback.add(trainer, values)
        self._targets.clear()
        self._answers.clear()


class _ReadAgain:
    """An input of the validation batches, of which a few samples are shown: not kept in memory."""

    def __init__(self, batches: Any, name: str) -> None:
        self._batches, self._name = batches, name

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        parts, start = [], 0
        for inputs, _ in self._batches:
            rows = inputs[self._name]
            in_batch = (indices >= start) & (indices < start + len(rows))
            parts.append((np.flatnonzero(in_batch), rows[indices[in_batch] - start].cpu().numpy()))
            start += len(rows)
        places = np.concatenate([place for place, _ in parts])
        return np.concatenate([rows for _, rows in parts])[np.argsort(places)]


class CheckpointArtifact(L.Callback):
    """Keeps the best checkpoint as an artifact that names the DVC hashes of its data."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._keep(trainer)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, DivergedError | PrunedError):  # for another run to start from
            self._keep(trainer)

    def _keep(self, trainer: L.Trainer) -> None:
        checkpoint = trainer.checkpoint_callback
        if not trainer.is_global_zero or not isinstance(checkpoint, ModelCheckpoint):
            return
        if checkpoint.best_model_score is not None:  # there is none before the first epoch ends
            path, value = Path(checkpoint.best_model_path), float(checkpoint.best_model_score)
            artifact.keep(path, str(checkpoint.monitor), value, trainer.current_epoch)
