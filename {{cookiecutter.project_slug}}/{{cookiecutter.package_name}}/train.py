"""Stage `train`: train the model, checkpointed and tracked.

By hand:
    python -m <package>.train trainer.max_epochs=3     one run, in outputs/
    python -m <package>.train -m optimizer.lr=0.1,0.01  a sweep, in multirun/
"""

import errno
import json
import logging
import os
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from workflow.config.schema import plain, validate
from workflow.config.values import ConfigError
from workflow.git import GitError
from workflow.paths import CHECKPOINT, HISTORY, PREPARED_DATA, TRAIN_METRICS
from workflow.variables import VariableError, check, drop_unused

if TYPE_CHECKING:
    from lightning.fabric.plugins import ClusterEnvironment

SET_BY_USER = dict(os.environ)  # a training sets variables too, and a sweep has many in a process
GOES_ON = "the next `inv train` goes on from the last epoch"


class TrainingError(Exception):
    """A training did not end as it should; the text says why, in one line."""


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> float:
    from workflow.tracking.run import chosen_mode

    try:
        validate(config)
        for line in check(plain(config), SET_BY_USER):
            if "LOCAL_RANK" not in SET_BY_USER:  # the first process of several says it
                print(f"environment: {line}", flush=True)
        drop_unused()
        chosen_mode(config.tracking.mode)
        # Read by OpenMP when torch is imported, and by the processes that this one starts.
        os.environ["OMP_NUM_THREADS"] = str(config.trainer.threads)
        return train(config, Path(HydraConfig.get().runtime.output_dir))
    except ConfigError as error:
        raise SystemExit(f"config: {error}") from None
    except (GitError, TrainingError) as error:
        raise SystemExit(f"train: {error}") from None
    except VariableError as error:
        raise SystemExit(f"environment: {error}") from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise SystemExit(f"the disk is full; make room: {GOES_ON}") from None


def train(config: DictConfig, run_dir: Path) -> float:
    """Train a model on the prepared data; the best one lands in `run_dir`/model.ckpt.

    An interrupted run of the same config, code and data in `run_dir` is gone on with, unless
    the config's `train.resume` says otherwise; the table in README.md has all cases.

    Returns:
        The validation loss of the best epoch, which a sweep minimizes.

    Raises:
        ConfigError: the checkpoint to begin with cannot be had, or does not fit.
        TrainingError: the loss is no finite number any more.
    """
    import lightning as L
    import torch
    from hydra.utils import instantiate
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.utilities import rank_zero_only

    from workflow.lightning import resume
    from workflow.lightning.callbacks import (
        DivergedError,
        EpochSeed,
        History,
        StayStopped,
        StopDiverged,
    )
    from workflow.lightning.devices import require_devices
    from workflow.lightning.run_log import RunLog
    from workflow.lightning.start import load_start
    from workflow.tracking import patch, provenance, upload
    from workflow.tracking.run import identity, keeps_code, next_step, start_run, upload_rest

    from .data import ArrayDataModule, ArrayDataset
    from .model import Classifier

    _quiet_lightning()
    settings = plain(config)
    trainer_settings = dict(settings["trainer"])
    start = load_start(config)
    if start:
        start.require_data(provenance.data_hashes())
    torch.set_num_threads(trainer_settings.pop("threads"))
    # Filling fresh memory guards against reading it; no operation here does, and it costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    L.seed_everything(config.seed, workers=True, verbose=False)

    require_devices(trainer_settings)
    data = ArrayDataModule(PREPARED_DATA, seed=config.seed, **settings["loader"])
    data.require_batches(trainer_settings)
    model = Classifier(settings)
    model.standardize.fit(ArrayDataset(PREPARED_DATA, "train").images)

    main_process = rank_zero_only.rank == 0  # type: ignore[attr-defined]
    anew = config.train.resume == "never" and main_process
    unfinished = resume.find(run_dir, config, start.fingerprint if start else None, anew)
    if unfinished.diverged:
        raise TrainingError(_diverged(unfinished.diverged, unfinished.run_id))
    if unfinished.complete:
        print(f"run {unfinished.run_id} has ended before: its result is kept, nothing is trained")
        measures = json.loads((unfinished.result / TRAIN_METRICS.name).read_text(encoding="utf-8"))
        if main_process and unfinished.run_id:
            unfinished.end(run_dir)
            upload_rest(settings["tracking"], unfinished.run_id)
        return measures["val/loss"]
    checkpoint = unfinished.checkpoint
    # DVC has removed what this stage will write; that is no change of the code.
    changes = patch.take(without=provenance.RESULTS) if keeps_code() else patch.Changes(b"")
    made_from = provenance.collect(settings, changes.sha256, changes.left_out)
    made_from |= start.provenance if start else {}
    run, first_step = None, 0
    if main_process:
        first_step = next_step(unfinished.run_id)
        run = start_run(settings, made_from, changes, unfinished.run_id)
        unfinished = unfinished.begin(run.id)
    if checkpoint:
        print(f"going on with the interrupted run {unfinished.run_id}")
    elif start and start.resumes:
        if main_process:
            unfinished.put(start.checkpoint.content, settings)
        checkpoint = str(unfinished.newest)
        print(f"going on from {start.checkpoint.name} after epoch {start.checkpoint.epochs}")
    elif start:
        start.initialize(model.network)
        print(f"beginning with the weights of {start.checkpoint.name}")

    best = ModelCheckpoint(
        unfinished.folder, filename="best", monitor="val/loss", enable_version_counter=False
    )
    # `save_last` of `best` would write only when an epoch is better.
    last = ModelCheckpoint(unfinished.folder, filename="last", enable_version_counter=False)
    trainer = L.Trainer(
        **trainer_settings,
        default_root_dir=run_dir / "profile",  # a profiler's; in SLURM, Lightning would resume here
        plugins=[resume.AtomicCheckpointIO(), *job_environment()],
        logger=False,  # RunLog and the callbacks log to the W&B run
        callbacks=[
            EpochSeed(config.seed),
            StayStopped(),
            StopDiverged(),
            History(run_dir / HISTORY.name),
            RunLog(first_step),
            *(instantiate(node) for node in settings["callbacks"].values() if node),
            best,
            last,
        ],
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # BatchSampler shares the batches out
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    try:
        trainer.fit(model, data, ckpt_path=checkpoint)
    except SystemExit:  # Lightning's answer to Ctrl-C
        raise SystemExit(f"interrupted: {GOES_ON}") from None
    except DivergedError as error:
        if run is not None:
            unfinished.diverge(str(error))
            run.summary["stop_reason"] = str(error)
            run.finish(exit_code=1)
            upload.finish()
        raise TrainingError(_diverged(str(error), unfinished.run_id)) from None
    if config.trainer.profiler:
        print(trainer.profiler.summary())  # type: ignore[attr-defined]

    # Once more, on the best epoch: these are the measures, tables and pictures of the model kept.
    measures = trainer.validate(model, data, ckpt_path=best.best_model_path, verbose=False)[0]
    if run is not None:
        measures = {"epochs": trainer.current_epoch, **measures}
        run.summary.update(measures)
        text = json.dumps(measures, indent=2, allow_nan=False) + "\n"
        (unfinished.result / TRAIN_METRICS.name).write_text(text, encoding="utf-8")
        kept = torch.load(best.best_model_path, weights_only=True)
        kept["provenance"] = {**made_from, "run": identity(run)}
        torch.save(kept, unfinished.result / CHECKPOINT.name)
        shutil.copyfile(run_dir / HISTORY.name, unfinished.result / HISTORY.name)
        run.finish()
        unfinished.end(run_dir)
        upload.finish()
    return measures["val/loss"]


def job_environment() -> "list[ClusterEnvironment]":
    """Return how to find this process's place in a SLURM job; else Lightning finds it.

    Without Lightning's own answer to SLURM's signals, which is a checkpoint of its own that it
    loads in every later training. In a job of one task, this process starts others itself.
    """
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return []
    if os.environ["SLURM_NTASKS"] == "1":
        return [LightningEnvironment()]
    return [SLURMEnvironment(auto_requeue=False)]


def _diverged(reason: str, run_id: str | None) -> str:
    return (
        f"run {run_id} diverged, and does so again with the same inputs: {reason};"
        " try a smaller optimizer.lr, or trainer.gradient_clip_val"
    )


def _quiet_lightning() -> None:
    """Leave out what Lightning says in every run and nobody can act on."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its import sets INFO
    for text in ("LeafSpec", "Checkpoint directory .* exists", "many workers", "srun"):
        warnings.filterwarnings("ignore", f".*{text}.*")


if __name__ == "__main__":
    main()
