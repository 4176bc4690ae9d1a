"""A training's run: opened, tracked, and finished with its result, whatever the framework."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .. import files, trial
from ..config.values import ConfigError
from ..deciding_metric import DecidingMetric
from ..errors import CommandError
from ..paths import RESULTS, TRAIN_METRICS
from ..tracking import patch, provenance, upload
from ..tracking.run import identity, keeps_code, next_step, start_run, upload_rest
from . import unfinished
from .start import Start

if TYPE_CHECKING:
    import wandb


class DivergedError(Exception):
    """The loss is not a finite number; the text says which loss, in which epoch and step."""


class BaseSession:
    """One training in the folder `run_dir`. A framework's Session adds what is its own."""

    is_main = True  # of several processes, the one that writes
    from_scratch = False  # whether an unfinished training is discarded
    start: Start | None = None  # the checkpoint that the training starts from

    def __init__(self, config: dict[str, Any], run_dir: Path, metric: DecidingMetric) -> None:
        """`config` is the composed config as plain types."""
        self.config = config
        self.run_dir = run_dir
        self.metric_name = metric.in_training
        self.wandb_run: wandb.Run | None = None
        self.first_step = 0  # that the W&B run does not have yet

    @property
    def hardware(self) -> dict[str, Any]:
        """What the training computes on, and how, as its provenance has it."""
        raise NotImplementedError

    def start_from(self, start: Start | None) -> None:
        """Start from a checkpoint.

        Raises:
            ConfigError: it is resumed, and was trained on other data.
        """
        if start:
            start.require_data(provenance.data_hashes())
        self.start = start

    @property
    def is_complete(self) -> bool:
        """Whether the result is there already: a training that was killed after its end."""
        return self.unfinished.complete

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Start the run, or resume an interrupted one; end it properly however it ends.

        Raises:
            CommandError: the training diverged, now or before with the same inputs.
            PrunedError: the sweep that it is a trial of has stopped it.
        """
        fingerprint = self.start.fingerprint if self.start else None
        self.unfinished = unfinished.find(
            self.run_dir, self.config, fingerprint, self.from_scratch and self.is_main
        )
        if self.unfinished.diverged:
            raise CommandError(self._diverged(self.unfinished.diverged))
        if self.unfinished.complete:
            self._return_complete()
            yield self
            return
        self._start()
        try:
            yield self
        except trial.PrunedError as error:
            if self.wandb_run is not None:
                self.wandb_run.tags = (*(self.wandb_run.tags or ()), "pruned")
                self.wandb_run.summary["stop_reason"] = str(error)
                self.wandb_run.finish()
                upload.finish()
            raise
        except DivergedError as error:
            if self.wandb_run is not None:
                self.unfinished.diverge(str(error))
                self.wandb_run.summary["stop_reason"] = str(error)
                self._fail()
            raise CommandError(self._diverged(str(error))) from None
        except ConfigError:
            self._fail()
            raise

    def write_result(self, metrics: Mapping[str, float]) -> dict[str, Any] | None:
        """Record the metrics of the result; return the provenance that its files name.

        None in all processes but the main one, which write nothing.
        """
        self.metric = metrics[self.metric_name]
        if self.wandb_run is None:
            return None
        self.wandb_run.summary.update(dict(metrics))
        text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
        files.replace(self.unfinished.result / TRAIN_METRICS.name, text)
        return {**self._provenance, "run": identity(self.wandb_run)}

    def end(self) -> None:
        """End the run: all of its result is in `unfinished.result`."""
        assert self.wandb_run is not None
        self.wandb_run.finish()
        self.unfinished.end(self.run_dir)
        upload.finish()

    def _start(self) -> None:
        # DVC has removed what this stage will write: that is not a change of the code.
        keeps = keeps_code()
        changes = patch.take(without=RESULTS) if keeps else patch.Changes(b"")
        collected = provenance.collect(self.config, self.hardware, changes.sha256, changes.left_out)
        self._provenance = collected | (self.start.provenance if self.start else {})
        if self.is_main:
            run_id = self.unfinished.run_id
            self.first_step = next_step(run_id)
            self.wandb_run = start_run(self.config, self._provenance, changes, run_id)
            self.unfinished = self.unfinished.start(self.wandb_run.id)
            if exchange := trial.exchange():
                exchange.start(identity(self.wandb_run))

    def _return_complete(self) -> None:
        run_id = self.unfinished.run_id
        print(f"run {run_id} was complete: its result is used, and nothing is trained")
        file = self.unfinished.result / TRAIN_METRICS.name
        self.metric = json.loads(file.read_text(encoding="utf-8"))[self.metric_name]
        if self.is_main and run_id:
            self.unfinished.end(self.run_dir)
            upload_rest(self.config["tracking"], run_id)

    def _fail(self) -> None:
        if self.wandb_run is not None:
            self.wandb_run.finish(exit_code=1)
            upload.finish()

    def _diverged(self, reason: str) -> str:
        return (
            f"run {self.unfinished.run_id} diverged, and would again with the same inputs:"
            f" {reason}; try a smaller optimizer.lr, or trainer.gradient_clip_val"
        )
