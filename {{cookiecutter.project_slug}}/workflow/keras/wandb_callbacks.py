"""What a W&B run shows beyond its metrics: each class one thing, configured in conf/callbacks/."""

import time

import wandb

from ..training import artifact
from .callbacks import Logs, RunCallback


class Throughput(RunCallback):
    """Measures the training samples per second of each epoch.

    W&B itself records the use of processor, memory and GPU.
    """

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._started = time.perf_counter()
        self._seconds: float | None = None

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._seconds = time.perf_counter() - self._started

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None and self._seconds:
            logs["throughput/samples_per_s"] = self.run.samples / self._seconds


class StopReason(RunCallback):
    """Records why the training ended: all epochs done, or what early stopping saw."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        reason = "max_epochs"
        for stopper in self.run.stoppers:
            if stopper.stopped_epoch:
                reason = f"no better {stopper.monitor} in {stopper.patience} epochs"
        if wandb.run:
            wandb.run.summary["stop_reason"] = reason


class CheckpointArtifact(RunCallback):
    """Keeps the best checkpoint as an artifact that names the DVC hashes of its data."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.keep()

    def keep(self) -> None:
        """Log the checkpoint of the best epoch, if one has ended."""
        best = self.run.best_value
        if best is not None:
            path, metric = self.run.unfinished.best, self.run.metric_name
            artifact.keep(path, metric, best, self.run.epochs)
