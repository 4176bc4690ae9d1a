"""A training by Lightning: resumed, checkpointed, and finished with its result."""

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

from ..deciding_metric import DecidingMetric
from ..paths import CHECKPOINT, HISTORY
from ..training.best_model import View
from ..training.session import BaseSession
from ..trial import exchange
from . import resume
from .callbacks import (
    EndProcesses,
    EpochSeed,
    Freeze,
    History,
    RequireMetrics,
    StayStopped,
    StopDiverged,
)
from .compiling import compile_network, require_compiler
from .devices import hardware, require_devices
from .mid_epoch import MidEpochCheckpoint
from .processes import job_environment
from .run_log import RunLog
from .start import initialize, load_start
from .step_cost import NoProfiler, SkipEmptyHooks, forget_driver_check
from .trial_reports import TrialReports
from .wandb_callbacks import ShowBestModel

if TYPE_CHECKING:
    from torch import nn

OWN = ("compile", "threads")  # keys of conf/trainer/ that are not Lightning's


class Session(BaseSession):
    """One training in the folder `run_dir`: `with session.open(network) as run:`.

    Raises:
        ConfigError: the devices or a compiler are not here, or the checkpoint to start from does
            not fit.
    """

    def __init__(self, config: dict[str, Any], run_dir: Path) -> None:
        """`config` is the composed config as plain types."""
        super().__init__(config, run_dir, DecidingMetric(**config["metric"]))
        _quiet_lightning()
        require_devices(config["trainer"])
        require_compiler(config["trainer"])
        self.start_from(load_start(config))
        self.from_scratch = config["train"]["resume"] == "never"
        self.is_main = rank_zero_only.rank == 0  # type: ignore[attr-defined]
        torch.set_num_threads(config["trainer"]["threads"])
        # Filling fresh memory guards against reading it; no operation here does, and it takes time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    @property
    def hardware(self) -> dict[str, Any]:
        return hardware(self.config["trainer"])

    @contextmanager
    def open(self, network: "nn.Module") -> Iterator["Session"]:
        """Start the run, or resume an interrupted one; end it properly however it ends.

        Args:
            network: gets the weights of `train.init_from`, and is frozen and compiled in place.

        Raises:
            ConfigError: the callback `freeze` names no weights of the network.
            CommandError: the training diverged, now or before with the same inputs.
        """
        self._added = [instantiate(node) for node in self.config["callbacks"].values() if node]
        for callback in self._added:
            if isinstance(callback, Freeze):
                callback.freeze(network)
        with self.opened():
            if not self.is_complete:
                self._load(network)
            yield self

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """What `lightning.Trainer` gets: the config's `trainer` and `callbacks`, and our own."""
        trainer = self.config["trainer"]
        arguments = {name: trainer[name] for name in trainer if name not in OWN}
        if self.hardware["accelerator"] == "cpu":
            forget_driver_check()
        return {
            **arguments,
            "profiler": trainer["profiler"] or NoProfiler(),
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
        recorded = self.write_result({"epochs": trainer.current_epoch, **metrics})
        if recorded is None:
            return
        result = self.unfinished.result
        checkpoint = torch.load(self.best_checkpoint, weights_only=True)
        torch.save({**checkpoint, "provenance": recorded}, result / CHECKPOINT.name)
        shutil.copyfile(self.run_dir / HISTORY.name, result / HISTORY.name)
        self.end()

    def _load(self, network: "nn.Module") -> None:
        """Choose the checkpoint to resume from, or give the network the weights to start from."""
        self.checkpoint = self.unfinished.checkpoint
        if self.checkpoint:
            print(f"resuming the interrupted run {self.unfinished.run_id}")
        elif self.start:
            print(self.start.description)
            content = self.start.checkpoint.content
            if self.start.resumes:
                if self.is_main:
                    resume.put(self.unfinished, content.loaded, self.config)
                self.checkpoint = str(self.unfinished.newest)
            else:
                initialize(network, content)
        if self.config["trainer"]["compile"]:
            compile_network(network, self.config["trainer"])

    def _callbacks(self) -> list[Callback]:
        folder, mode = self.unfinished.folder, self.config["metric"]["mode"]
        self._best = ModelCheckpoint(
            folder,
            filename="best",
            monitor=self.metric_name,
            mode=mode,
            enable_version_counter=False,
        )
        # `save_last` of `best` would write only when an epoch is better.
        last = ModelCheckpoint(folder, filename="last", enable_version_counter=False)
        minutes = self.config["train"]["checkpoint_minutes"]
        losses = StopDiverged(self.metric_name)
        newest = self.unfinished.newest
        within = [] if minutes is None else [MidEpochCheckpoint(newest, minutes, losses)]
        trial = exchange()
        return [
            SkipEmptyHooks(),
            EndProcesses(),
            RequireMetrics(self.metric_name),
            EpochSeed(self.config["seed"]),
            StayStopped(),
            losses,
            History(self.run_dir / HISTORY.name),
            RunLog(self.first_step),
            *([TrialReports(self.metric_name, trial)] if trial else []),
            *(callback for callback in self._added if not isinstance(callback, View)),
            ShowBestModel([view for view in self._added if isinstance(view, View)]),
            *within,
            self._best,
            last,
        ]


def _quiet_lightning() -> None:
    """Leave out what Lightning says in every run and nobody can act on."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its import sets INFO
    unwanted = [
        *("LeafSpec", "Checkpoint directory .* exists", "many workers", "srun", "OneCycleLR"),
        "dataloader is not resumable",  # samplers start where an epoch was interrupted
    ]
    for text in unwanted:
        warnings.filterwarnings("ignore", f".*{text}.*")
