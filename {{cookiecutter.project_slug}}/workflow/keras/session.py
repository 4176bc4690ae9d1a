"""A training by Keras: resumed, checkpointed, and finished with its result."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
from hydra.utils import instantiate

from ..deciding_metric import DecidingMetric
from ..paths import CHECKPOINT, HISTORY
from ..training import history
from ..training.best_model import Samples, View
from ..training.session import BaseSession, DivergedError
from ..trial import PrunedError, exchange
from . import checkpoint
from .callbacks import (
    EpochSeed,
    Freeze,
    Logs,
    RequireMetrics,
    RunCallback,
    StopDiverged,
    epoch_metrics,
    named,
)
from .devices import hardware, require_devices, set_up
from .start import load_start
from .trial_reports import TrialReports
from .wandb_callbacks import CheckpointArtifact


class Session(BaseSession):
    """One training in the folder `run_dir`: `with session.open(model, batches) as run:`.

    Raises:
        ConfigError: the devices are not here, or the checkpoint to start from does not fit.
    """

    def __init__(self, config: dict[str, Any], run_dir: Path) -> None:
        """`config` is the composed config as plain types."""
        self._deciding = DecidingMetric(**config["metric"])
        super().__init__(config, run_dir, self._deciding)
        set_up(config["trainer"])
        require_devices(config["trainer"])
        self.start_from(load_start(config))
        self.from_scratch = config["train"]["resume"] == "never"
        self._epochs: list[dict[str, Any]] = []  # what was logged in each, and after which step

    @property
    def hardware(self) -> dict[str, Any]:
        return hardware(self.config)

    @property
    def epochs(self) -> int:
        """How many epochs have ended."""
        return len(self._epochs)

    @property
    def best_value(self) -> float | None:
        """The best value of the metric that decides; None before the first epoch has ended."""
        values = (named(epoch["logs"])[self.metric_name] for epoch in self._epochs)
        return self._deciding.best(values)

    @property
    def stoppers(self) -> list[keras.callbacks.EarlyStopping]:
        """The callbacks that may end the training early."""
        return [one for one in self._added if isinstance(one, keras.callbacks.EarlyStopping)]

    @contextmanager
    def open(self, model: Any, batches: Any) -> Iterator["Session"]:
        """Start the run, or resume an interrupted one; end it properly however it ends.

        Args:
            model: compiled; its `network` gets the weights of `train.init_from`, or is frozen.
            batches: of the training; their `epoch` is set before each.

        Raises:
            ConfigError: the callback `freeze` names no layers of the network, or it cannot take the
                weights of `train.init_from`.
            CommandError: the training diverged, now or before with the same inputs.
        """
        self._added = [instantiate(node) for node in self.config["callbacks"].values() if node]
        for callback in self._added:
            if isinstance(callback, Freeze):
                callback.freeze(model.network)
            if isinstance(callback, RunCallback):
                callback.run = self
        if self.start and not self.start.resumes:
            self.start.require_shapes(checkpoint.shapes(model.network))
        self._batches, self.samples = batches, batches.samples
        with self.opened():
            if not self.is_complete:
                self._load(model)
            try:
                yield self
            except (DivergedError, PrunedError):  # for another run to start from
                for callback in self._added:
                    if isinstance(callback, CheckpointArtifact):
                        callback.keep()
                raise

    @property
    def fit_arguments(self) -> dict[str, Any]:
        """What `fit` gets beside the data: the epochs to train, and all callbacks."""
        callbacks = [one for one in self._added if not isinstance(one, View)]
        last = self.config["trainer"]["epochs"]
        trial = exchange()
        return {
            "initial_epoch": last if self._stopped else self.epochs,
            "epochs": last,
            "shuffle": False,  # by Keras: batches have an order that a resumed run continues
            "verbose": 0,
            "callbacks": [
                RequireMetrics(self.metric_name, callbacks),
                EpochSeed(self.config["seed"], self._batches),
                StopDiverged(self.metric_name),
                *callbacks,
                *([TrialReports(self.metric_name, trial)] if trial else []),
                _Record(self),
            ],
        }

    def restore_best(self, model: Any) -> None:
        """Give the model the weights of the best epoch."""
        checkpoint.read(self.unfinished.best).restore(model)

    def finish(self, metrics: Mapping[str, float], samples: Samples) -> None:
        """Write the result: metrics, history and the best checkpoint with its provenance.

        Args:
            metrics: of the best epoch on the validation split, by Keras's names.
            samples: of the validation split, for the callbacks to show.
        """
        measured = {f"val/{name}": float(value) for name, value in metrics.items()}
        recorded = self.write_result({"epochs": self.epochs, **measured})
        assert recorded is not None
        assert self.wandb_run is not None
        result = self.unfinished.result
        best = checkpoint.read(self.unfinished.best)
        checkpoint.write(result / CHECKPOINT.name, replace(best, provenance=recorded))
        shutil.copyfile(self.run_dir / HISTORY.name, result / HISTORY.name)
        views = [one for one in self._added if isinstance(one, View)]
        for step, view in enumerate(views, self._epochs[-1]["step"] + 1):
            if values := view.show(samples):
                self.wandb_run.log(values, step=step)
        self.end()

    def record(self, model: Any, logs: Logs) -> None:
        """Keep an epoch that has ended: its metrics, and a checkpoint to resume from."""
        before = self.best_value
        step = int(model.optimizer.iterations)
        self._epochs.append({"step": step, "logs": {name: float(logs[name]) for name in logs}})
        self._log(self._epochs[-1], self.epochs - 1)
        self._write_history()
        saved = checkpoint.of(model, self.config, {"epochs": self._epochs})
        if self.best_value != before:
            checkpoint.write(self.unfinished.best, saved)
        checkpoint.write(self.unfinished.newest, saved)  # last: whoever resumes it has the best

    def replay(self, stopper: keras.callbacks.EarlyStopping) -> None:
        """Let an early stopping see the epochs that were trained before."""
        for index, epoch in enumerate(self._epochs):
            stopper.on_epoch_end(index, epoch["logs"])

    def _load(self, model: Any) -> None:
        """Give the model the state to resume from, or the weights to start from."""
        if self.unfinished.checkpoint:
            print(f"resuming the interrupted run {self.unfinished.run_id}")
            self._resume(model, checkpoint.read(self.unfinished.newest))
        elif self.start and self.start.resumes:
            saved = self.start.checkpoint.content.loaded
            # It is the newest, and, until an epoch is better, the best.
            for path in (self.unfinished.best, self.unfinished.newest):
                checkpoint.write(path, replace(saved, config=self.config, provenance={}))
            self._resume(model, saved)
            print(self.start.description)
        elif self.start:
            checkpoint.initialize(model.network, self.start.checkpoint.content.loaded)
            print(self.start.description)
        self._stopped = self._was_stopped(model)

    def _resume(self, model: Any, saved: checkpoint.Saved) -> None:
        saved.restore(model)
        self._epochs = saved.state["epochs"]
        for index, epoch in enumerate(self._epochs):
            self._log(epoch, index)
        self._write_history()  # DVC removed the file before this stage

    def _was_stopped(self, model: Any) -> bool:
        """Whether early stopping had ended the training before it was interrupted."""
        model.stop_training = False
        for stopper in self.stoppers:
            stopper.set_model(model)
            stopper.on_train_begin()
            self.replay(stopper)
        stopped, model.stop_training = model.stop_training, False
        return bool(stopped)

    def _log(self, epoch: dict[str, Any], index: int) -> None:
        # A resumed run has the rows before `first_step`.
        if self.wandb_run is not None and epoch["step"] >= self.first_step:
            row = {"epoch": index, **named(epoch["logs"])}
            # At once: a row that waits for the next one would replace the summary of the result.
            self.wandb_run.log(row, step=epoch["step"], commit=True)

    def _write_history(self) -> None:
        rows = [
            history.row(index, epoch_metrics(epoch["logs"]))
            for index, epoch in enumerate(self._epochs)
        ]
        history.write(self.run_dir / HISTORY.name, rows)


class _Record(keras.callbacks.Callback):
    """Hands each epoch to the session, after every other callback."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session

    def on_train_begin(self, logs: Logs | None = None) -> None:
        for stopper in self._session.stoppers:  # which have forgotten them in this method
            self._session.replay(stopper)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._session.record(self.model, logs or {})
