"""Stage `train`: train the model, checkpointed and tracked.

By hand:
    python -m <package>.train trainer.epochs=3                    one run, in outputs/
    python -m <package>.train -m optimizer.learning_rate=0.1,0.01  a sweep, in multirun/
"""

from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from workflow.launch import launch
from workflow.paths import PREPARED_DATA


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
    import keras
    from hydra.utils import instantiate

    from workflow.keras.session import Session
    from workflow.training.best_model import Samples

    from .model import Model

    session = Session(config, run_dir)  # what cannot be trained here is refused before any work
    keras.utils.set_random_seed(config["seed"])
    steps = (config["trainer"]["steps_per_epoch"], config["trainer"]["validation_steps"])
    inputs = list(config["data"]["inputs"])
    data = instantiate(config["loader"], PREPARED_DATA, inputs, seed=config["seed"], steps=steps)
    model = Model(config)
    model.fit_preprocessing(data.train.inputs, data.train.target)
    model.prepare_training(config, len(data.train))

    with session.open(model, data.train) as run:
        if run.is_complete:
            return run.metric
        model.fit(data.train, validation_data=data.validation, **run.fit_arguments)
        run.restore_best(model)
        metrics = model.evaluate(data.validation, verbose=0, return_dict=True)
        answers = model.answer(data.validation.inputs)
        held_out = data.validation.inputs, data.validation.target
        run.finish(metrics, Samples.of(config["data"], *held_out, answers))
        return run.metric


if __name__ == "__main__":
    main()
