"""What a W&B run shows beyond its metrics: each class one thing, configured in conf/callbacks/.

After training, the best epoch is validated once more; what is drawn there is of that model.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import lightning as L
import numpy as np
import torch
import wandb
from annotated_types import Ge
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from ..signature import Spec, decode, decode_columns, decode_target, distinct, signature
from ..tracking import provenance
from .callbacks import DivergedError
from .run_log import RunLog

MAX_POINTS = 1000  # of a plot that W&B draws in the browser


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


class BestModelCallback(L.Callback):
    """Collects what the best model answers on the validation split, for `show` to draw.

    The model's `validation_step` returns its answers: probabilities (n, classes) or values (n,).
    """

    def __init__(self) -> None:
        self._batches: list[tuple[dict[str, Tensor], Tensor, Tensor]] = []

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
            inputs, target = batch
            on_cpu = {name: values.cpu() for name, values in inputs.items()}
            self._batches.append((on_cpu, target.cpu(), outputs.cpu()))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._batches and trainer.is_global_zero:
            batches, targets, answers = zip(*self._batches, strict=True)
            inputs = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
            declared = signature(pl_module.hparams["config"]["data"])
            samples = Samples(declared, inputs, torch.cat(targets), torch.cat(answers))
            values = self.show(samples)
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, RunLog) and values:
                    callback.add(trainer, values)
        self._batches.clear()

    def show(self, samples: "Samples") -> dict[str, Any]:
        """Return what to log, by its name; nothing where it does not apply."""
        raise NotImplementedError


@dataclass(frozen=True)
class Samples:
    """Samples and what a model answers.

    Args:
        signature: of the model.
        inputs: (n, …) by name.
        target: (n,), class indices or values.
        answers: probabilities (n, classes), or values (n,).
    """

    signature: dict[str, list[Spec]]
    inputs: dict[str, Tensor]
    target: Tensor
    answers: Tensor

    @property
    def output(self) -> Spec:
        return self.signature["outputs"][0]


class PredictionsTable(BestModelCallback):
    """A table of validation samples and what the model answers, the least certain first.

    Of values, those with the largest error come first.
    """

    def __init__(self, rows: Annotated[int, Ge(1)]) -> None:
        super().__init__()
        self.rows = rows

    def show(self, samples: Samples) -> dict[str, Any]:
        answers, target = samples.answers, samples.target
        if samples.output["kind"] == "classes":
            (certainty, predicted), last = answers.max(dim=1), "confidence"
        else:
            certainty, predicted, last = -(answers - target).abs(), answers, "error"
        order = certainty.argsort()[: self.rows]
        given: dict[str, list[Any]] = {}
        for spec in samples.signature["inputs"]:
            given |= _cells(spec, samples.inputs[spec["name"]][order].numpy())
        answered = {
            "actual": decode_target(samples.output, target[order].numpy()),
            "predicted": decode_target(samples.output, predicted[order].numpy()),
            last: certainty[order].abs().tolist(),
        }
        columns = distinct(given, answered) | answered
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        return {"predictions": wandb.Table(columns=list(columns), data=rows)}


def _cells(spec: Spec, array: np.ndarray) -> dict[str, list[Any]]:
    """Return the columns of a table that show an input: pictures, texts, or a column for each."""
    name = spec["name"]
    match spec:
        case {"kind": "image", "shape": [_, _, _]} | {"kind": "image", "shape": [_, _, _, 1 | 3]}:
            pixels = (255.0 * array / spec["max_value"]).astype(np.uint8)
            return {name: [wandb.Image(one) for one in pixels]}
        case {"kind": "features"}:
            return decode_columns(spec, array)
        case {"kind": "text"}:
            return {name: decode(spec, array)}
    return {name: [str(value) for value in decode(spec, array)]}


class ConfusionMatrix(BestModelCallback):
    """Which class is taken for which, on the validation split; of values, predicted by actual."""

    def show(self, samples: Samples) -> dict[str, Any]:
        if samples.output["kind"] != "classes":
            return {"predicted_by_actual": _scatter(samples)}
        plot = wandb.plot.confusion_matrix(
            y_true=samples.target.tolist(),
            preds=samples.answers.argmax(dim=1).tolist(),
            class_names=samples.output["names"],
        )
        return {"confusion_matrix": plot}


def _scatter(samples: Samples) -> Any:
    """Draw predicted values by actual ones, of at most MAX_POINTS samples."""
    step = -(-len(samples.target) // MAX_POINTS)
    pairs = torch.stack([samples.target, samples.answers], dim=1)[::step].tolist()
    label, unit = samples.output["label"], samples.output.get("unit")
    return wandb.plot.scatter(
        wandb.Table(columns=["actual", "predicted"], data=pairs),
        x="actual",
        y="predicted",
        title=f"{label} ({unit}): predicted by actual" if unit else f"{label}: predicted by actual",
    )


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
