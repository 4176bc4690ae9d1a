"""A training's run: opened or resumed, tracked, checkpointed, and finished with its result."""

import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only

from .. import files
from ..config.values import ConfigError
from ..deciding_metric import DecidingMetric
from ..errors import CommandError
from ..launch import RESUMES
from ..paths import CHECKPOINT, HISTORY, TRAIN_METRICS
from ..tracking import patch, provenance, upload
from ..tracking.run import identity, keeps_code, next_step, start_run, upload_rest
from . import resume
from .callbacks import (
    DivergedError,
    EpochSeed,
    Freeze,
    History,
    RequireMetrics,
    StayStopped,
    StopDiverged,
)
from .compiling import compile_network, require_compiler
from .devices import hardware, require_devices
from .processes import job_environment
from .run_log import RunLog
from .start import load_start

if TYPE_CHECKING:
    import wandb
    from torch import nn

OWN = ("compile", "threads")  # keys of conf/trainer/ that are not Lightning's


class Session:
    """One training in the folder `run_dir`: `with session.open(network) as run:`.

    Raises:
        ConfigError: the devices or a compiler are not here, or the checkpoint to start from does
            not fit.
    """

    def __init__(self, config: dict[str, Any], run_dir: Path) -> None:
        """`config` is the composed config as plain types."""
        _quiet_lightning()
        require_devices(config["trainer"])
        require_compiler(config["trainer"])
        self.config = config
        self.run_dir = run_dir
        self.start = load_start(config)
        if self.start:
            self.start.require_data(provenance.data_hashes())
        self._metric = DecidingMetric(**config["metric"]).in_training
        torch.set_num_threads(config["trainer"]["threads"])
        # Filling fresh memory guards against reading it; no operation here does, and it takes time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self._is_main = rank_zero_only.rank == 0  # type: ignore[attr-defined]

    @contextmanager
    def open(self, network: "nn.Module") -> Iterator["Session"]:
        """Start the run, or resume an interrupted one; end it properly however it ends.

        Args:
            network: gets the weights that `train.init_from` names, is frozen and compiled in place.

        Raises:
            ConfigError: the callback `freeze` names no weights of the network.
            CommandError: the training diverged, now or before with the same inputs.
        """
        self._added = [instantiate(node) for node in self.config["callbacks"].values() if node]
        for callback in self._added:
            if isinstance(callback, Freeze):
                callback.freeze(network)
        fingerprint = self.start.fingerprint if self.start else None
        from_scratch = self.config["train"]["resume"] == "never" and self._is_main
        self.unfinished = resume.find(self.run_dir, self.config, fingerprint, from_scratch)
        if self.unfinished.diverged:
            raise CommandError(self._diverged(self.unfinished.diverged))
        if self.unfinished.complete:
            self._return_complete()
            yield self
            return
        self._start(network)
        try:
            yield self
        except SystemExit:  # Lightning's answer to Ctrl-C
            raise SystemExit(f"interrupted: {RESUMES}") from None
        except DivergedError as error:
            if self._run is not None:
                self.unfinished.diverge(str(error))
                self._run.summary["stop_reason"] = str(error)
                self._fail()
            raise CommandError(self._diverged(str(error))) from None
        except ConfigError:
            self._fail()
            raise

    @property
    def is_complete(self) -> bool:
        """Whether the result is there already: a training that was killed after its last epoch."""
        return self.unfinished.complete

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """What `lightning.Trainer` gets: the config's `trainer` and `callbacks`, and our own."""
        trainer = self.config["trainer"]
        own = {name: trainer[name] for name in trainer if name not in OWN}
        return {
            **own,
            # A profiler's; in SLURM, Lightning would resume from what is there.
            "default_root_dir": self.run_dir / "profile",
            "plugins": [resume.AtomicCheckpointIO(), *job_environment()],
            "logger": False,  # RunLog and the callbacks log to the W&B run
            "callbacks": self._callbacks(),
            "num_sanity_val_steps": 0,
            "use_distributed_sampler": False,  # BatchSampler divides the batches among processes
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }

    @property
    def best_checkpoint(self) -> str:
        """The path of the checkpoint of the best epoch."""
        return self._best.best_model_path

    def finish(self, trainer: L.Trainer, metrics: Any) -> None:
        """Write the result: metrics, history and the best checkpoint with its provenance.

        Args:
            metrics: of the best epoch, by their names.
        """
        if self.config["trainer"]["profiler"]:
            print(trainer.profiler.summary())  # type: ignore[attr-defined]
        self.metric = metrics[self._metric]
        if self._run is None:
            return
        metrics = {"epochs": trainer.current_epoch, **metrics}
        self._run.summary.update(metrics)
        result = self.unfinished.result
        text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
        files.replace(result / TRAIN_METRICS.name, text)
        checkpoint = torch.load(self.best_checkpoint, weights_only=True)
        checkpoint["provenance"] = {**self._provenance, "run": identity(self._run)}
        torch.save(checkpoint, result / CHECKPOINT.name)
        shutil.copyfile(self.run_dir / HISTORY.name, result / HISTORY.name)
        self._run.finish()
        self.unfinished.end(self.run_dir)
        upload.finish()

    def _start(self, network: "nn.Module") -> None:
        # DVC has removed what this stage will write; that is no change of the code.
        keeps = keeps_code()
        changes = patch.take(without=provenance.RESULTS) if keeps else patch.Changes(b"")
        self._provenance = provenance.collect(
            self.config, hardware(self.config["trainer"]), changes.sha256, changes.left_out
        )
        self._provenance |= self.start.provenance if self.start else {}
        self._run: wandb.Run | None = None
        self._first_step = 0
        self.checkpoint = self.unfinished.checkpoint
        run_id = self.unfinished.run_id
        if self._is_main:
            self._first_step = next_step(run_id)
            self._run = start_run(self.config, self._provenance, changes, run_id)
            self.unfinished = self.unfinished.start(self._run.id)
        if self.checkpoint:
            print(f"resuming the interrupted run {run_id}")
        elif self.start and self.start.resumes:
            if self._is_main:
                self.unfinished.put(self.start.checkpoint.content, self.config)
            self.checkpoint = str(self.unfinished.newest)
            named = self.start.checkpoint
            print(f"resuming from {named.name} after epoch {named.epochs}")
        elif self.start:
            self.start.initialize(network)
            print(f"starting from the weights of {self.start.checkpoint.name}")
        if self.config["trainer"]["compile"]:
            compile_network(network, bool(self.config["trainer"]["deterministic"]))

    def _callbacks(self) -> list[Callback]:
        folder, mode = self.unfinished.folder, self.config["metric"]["mode"]
        self._best = ModelCheckpoint(
            folder,
            filename="best",
            monitor=self._metric,
            mode=mode,
            enable_version_counter=False,
        )
        # `save_last` of `best` would write only when an epoch is better.
        last = ModelCheckpoint(folder, filename="last", enable_version_counter=False)
        return [
            RequireMetrics(self._metric),
            EpochSeed(self.config["seed"]),
            StayStopped(),
            StopDiverged(self._metric),
            History(self.run_dir / HISTORY.name),
            RunLog(self._first_step),
            *self._added,
            self._best,
            last,
        ]

    def _return_complete(self) -> None:
        run_id = self.unfinished.run_id
        print(f"run {run_id} was complete: its result is kept, nothing is trained")
        file = self.unfinished.result / TRAIN_METRICS.name
        self.metric = json.loads(file.read_text(encoding="utf-8"))[self._metric]
        if self._is_main and run_id:
            self.unfinished.end(self.run_dir)
            upload_rest(self.config["tracking"], run_id)

    def _fail(self) -> None:
        if self._run is not None:
            self._run.finish(exit_code=1)
            upload.finish()

    def _diverged(self, reason: str) -> str:
        return (
            f"run {self.unfinished.run_id} diverged, and does so again with the same inputs:"
            f" {reason}; try a smaller optimizer.lr, or trainer.gradient_clip_val"
        )


def _quiet_lightning() -> None:
    """Leave out what Lightning says in every run and nobody can act on."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its import sets INFO
    unwanted = ("LeafSpec", "Checkpoint directory .* exists", "many workers", "srun", "OneCycleLR")
    for text in unwanted:
        warnings.filterwarnings("ignore", f".*{text}.*")
