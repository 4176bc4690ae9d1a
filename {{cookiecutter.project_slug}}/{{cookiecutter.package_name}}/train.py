"""Stage `train`: train the model, checkpointed and tracked.

By hand:
    python -m <package>.train trainer.max_epochs=3     one run, in outputs/
    python -m <package>.train -m optimizer.lr=0.1,0.01  a sweep, in multirun/
"""

import errno
import json
import logging
import os
import warnings
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from .git import GitError
from .paths import PREPARED_DATA
from .schema import plain, validate
from .values import ConfigError

GOES_ON = "the next `inv train` goes on from the last epoch"


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> float:
    try:
        validate(config)
        # Read by OpenMP when torch is imported, and by the processes that this one starts.
        os.environ["OMP_NUM_THREADS"] = str(config.trainer.threads)
        return train(config, Path(HydraConfig.get().runtime.output_dir))
    except ConfigError as error:
        raise SystemExit(f"config: {error}") from None
    except GitError as error:
        raise SystemExit(f"train: {error}") from None
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
    """
    import lightning as L
    import torch
    from hydra.utils import instantiate
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.utilities import rank_zero_only

    from . import resume
    from .callbacks import EpochSeed, History, StayStopped
    from .data import ArrayDataModule, ArrayDataset
    from .devices import require_devices
    from .model import Classifier
    from .start import load_start
    from .tracking import patch, provenance
    from .tracking.log import RunLog
    from .tracking.run import finish_run, next_step, start_run

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
    checkpoint = unfinished.checkpoint
    changes = patch.take()
    made_from = provenance.collect(settings, changes.sha256) | (start.provenance if start else {})
    run, first_step = None, 0
    if main_process:
        first_step = next_step(unfinished.run_id)
        run = start_run(settings, made_from, changes, unfinished.run_id)
        unfinished.begin(run.id)
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
        default_root_dir=run_dir,
        plugins=[resume.AtomicCheckpointIO()],
        logger=False,  # RunLog and the callbacks log to the W&B run
        callbacks=[
            EpochSeed(config.seed),
            StayStopped(),
            History(run_dir / "history.csv"),
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
    if config.trainer.profiler:
        print(trainer.profiler.summary())  # type: ignore[attr-defined]

    # Once more, on the best epoch: these are the measures, tables and pictures of the model kept.
    measures = trainer.validate(model, data, ckpt_path=best.best_model_path, verbose=False)[0]
    if run is not None:
        measures = {"epochs": trainer.current_epoch, **measures}
        run.summary.update(measures)
        (run_dir / "metrics.json").write_text(json.dumps(measures, indent=2) + "\n")
        kept = torch.load(best.best_model_path, weights_only=True)
        kept["provenance"] = {**made_from, "run": {"id": run.id, "path": run.path}}
        torch.save(kept, run_dir / "model.ckpt")
        unfinished.end()
        finish_run(run)
    return measures["val/loss"]


def _quiet_lightning() -> None:
    """Leave out what Lightning says in every run and nobody can act on."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its import sets INFO
    for message in (".*LeafSpec.*", ".*Checkpoint directory .* exists.*", ".*many workers.*"):
        warnings.filterwarnings("ignore", message)


if __name__ == "__main__":
    main()
