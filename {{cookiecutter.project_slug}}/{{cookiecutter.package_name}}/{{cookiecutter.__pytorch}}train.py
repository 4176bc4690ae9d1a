"""Stage `train`: train the model, checkpointed and tracked.

By hand:
    python -m <package>.train trainer.max_epochs=3     one run, in outputs/
    python -m <package>.train -m optimizer.lr=0.1,0.01  a sweep, in multirun/
"""

from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from workflow.launch import launch
from workflow.paths import PREPARED_DATA
from workflow.prepared import read_split


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> float:
    return launch(train, config)


def train(config: dict[str, Any], run_dir: Path) -> float:
    """Train a model on the prepared data; the best one lands in `run_dir`/model.ckpt.

    An interrupted run of the same config, code and data in `run_dir` is resumed, unless the
    config's `train.resume` says otherwise; the table in docs/training.md has all cases.

    Args:
        config: the composed config as plain types.

    Returns:
        The metric of the config on the validation split, of the best epoch.

    Raises:
        ConfigError: the network does not fit the data, or the checkpoint to start from does not
            fit or is not available.
        CommandError: the loss is not a finite number any more, or it was interrupted.
    """
    import lightning as L
    from hydra.utils import instantiate

    from workflow.lightning.networks import require_fit
    from workflow.lightning.session import Session

    from .model import Model

    session = Session(config, run_dir)  # what cannot be trained here is refused before any work
    L.seed_everything(config["seed"], workers=True, verbose=False)
    inputs = list(config["data"]["inputs"])
    data = instantiate(config["loader"], PREPARED_DATA, inputs, seed=config["seed"])
    data.require_batches(config["trainer"])
    model = Model(config)
    samples, target = read_split(PREPARED_DATA, "train", inputs)
    model.fit_preprocessing(samples, target)
    require_fit(model.network, model.preprocess, samples, config["data"]["target"])

    with session.open(model.network) as run:
        if run.is_complete:
            return run.metric
        trainer = L.Trainer(**run.trainer_arguments)
        trainer.fit(model, data, ckpt_path=run.checkpoint)
        # Once more, on the best epoch: its metrics, tables and pictures are those of the result.
        (metrics,) = trainer.validate(model, data, ckpt_path=run.best_checkpoint, verbose=False)
        run.finish(trainer, metrics)
        return run.metric


if __name__ == "__main__":
    main()
