"""What a W&B run shows beyond its measures: each class one thing, configured in conf/callbacks/.

After training, the best epoch is validated once more; what is drawn there is of that model.
"""

import time
from pathlib import Path
from typing import Annotated, Any

import lightning as L
import torch
import wandb
from annotated_types import Ge
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from ..tracking import provenance
from .callbacks import DivergedError
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
        batch: tuple[Tensor, Tensor],
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


class BestModelCallback(L.Callback):
    """Collects the predictions of the best model on the validation split, for `show` to draw."""

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, Tensor, Tensor]] = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            images, labels = batch
            self._batches.append((images.cpu(), labels.cpu(), outputs.softmax(dim=1).cpu()))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._batches and trainer.is_global_zero:
            images, labels, probabilities = (
                torch.cat(part) for part in zip(*self._batches, strict=True)
            )
            classes = pl_module.hparams["config"]["data"]["classes"]
            values = self.show(images, labels, probabilities, classes)
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, RunLog):
                    callback.add(trainer, values)
        self._batches.clear()

    def show(
        self, images: Tensor, labels: Tensor, probabilities: Tensor, classes: list[str]
    ) -> dict[str, Any]:
        """Return what to log, by its name.

        Args:
            images: (n, rows, columns).
            labels: (n,), class indices.
            probabilities: (n, classes).
        """
        raise NotImplementedError


class PredictionsTable(BestModelCallback):
    """A table of validation images with what the model says of them, the least sure first."""

    def __init__(self, rows: Annotated[int, Ge(1)]) -> None:
        super().__init__()
        self.rows = rows

    def show(
        self, images: Tensor, labels: Tensor, probabilities: Tensor, classes: list[str]
    ) -> dict[str, Any]:
        confidence, predicted = probabilities.max(dim=1)
        table = wandb.Table(["image", "actual", "predicted", "confidence"])
        for index in confidence.argsort()[: self.rows].tolist():
            pixels = images[index].float()
            table.add_data(
                wandb.Image((255 * pixels / pixels.max().clamp(min=1)).byte().numpy()),
                classes[int(labels[index])],
                classes[int(predicted[index])],
                float(confidence[index]),
            )
        return {"predictions": table}


class ConfusionMatrix(BestModelCallback):
    """Which class is taken for which, on the validation split."""

    def show(
        self, images: Tensor, labels: Tensor, probabilities: Tensor, classes: list[str]
    ) -> dict[str, Any]:
        plot = wandb.plot.confusion_matrix(
            y_true=labels.tolist(),
            preds=probabilities.argmax(dim=1).tolist(),
            class_names=classes,
        )
        return {"confusion_matrix": plot}


class CheckpointArtifact(L.Callback):
    """Keeps the best checkpoint as an artifact that names the DVC hashes of its data."""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._keep(trainer)

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, DivergedError):  # there is nothing to resume, but to start from
            self._keep(trainer)

    def _keep(self, trainer: L.Trainer) -> None:
        checkpoint = trainer.checkpoint_callback
        if not trainer.is_global_zero or not isinstance(checkpoint, ModelCheckpoint):
            return
        if not wandb.run or checkpoint.best_model_score is None:  # none before the first epoch ends
            return
        artifact = wandb.Artifact(
            "checkpoint",
            type="checkpoint",
            metadata={
                "data": provenance.data_hashes(),
                str(checkpoint.monitor): float(checkpoint.best_model_score),
                "epochs": trainer.current_epoch,
            },
        )
        artifact.add_file(str(Path(checkpoint.best_model_path)), name="model.ckpt")
        wandb.run.log_artifact(artifact, aliases=["best"])
