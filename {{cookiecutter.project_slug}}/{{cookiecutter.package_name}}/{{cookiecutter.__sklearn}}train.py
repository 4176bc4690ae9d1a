"""Stage `train`: fit the model, tracked.

By hand:
    python -m <package>.train model.C=0.1          one run, in outputs/
    python -m <package>.train -m model.C=0.1,1,10  a sweep, in multirun/
"""

from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from workflow.launch import launch
from workflow.paths import PREPARED_DATA
from workflow.prepared import read_arrays


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> float:
    return launch(train, config)


def train(config: dict[str, Any], run_dir: Path) -> float:
    """Fit a model on the prepared data; it lands in `run_dir`/model.ckpt.

    Args:
        config: the composed config as plain types.

    Returns:
        The metric of the config on the validation split.

    Raises:
        ConfigError: the estimator cannot be made, or not be exported; its metric is not logged.
    """
    from workflow.scikit_learn.session import Session
    from workflow.training.best_model import Samples

    from .model import Model, cross_validate

    model = Model(config)  # what cannot be fitted or exported is refused before any work
    session = Session(config, run_dir, [*model.measures])
    names = list(config["data"]["inputs"])
    inputs, target = read_arrays(PREPARED_DATA, "train", names)
    held_out, expected = read_arrays(PREPARED_DATA, "validation", names)

    with session.open() as run:
        if run.is_complete:
            return run.metric
        model.fit(inputs, target)
        epochs = []  # a boosting has one for each iteration, another estimator has one
        for fitted, answers in zip(model.stages(inputs), model.stages(held_out), strict=True):
            metrics = {"train/loss": model.metrics(fitted, target)["loss"]}
            for name, value in model.metrics(answers, expected).items():
                metrics[f"val/{name}"] = value
            epochs.append(metrics)
        folds = config["trainer"]["cross_validation"]
        more = cross_validate(config, inputs, target, folds) if folds else {}
        run.finish(model, epochs, more, Samples.of(config["data"], held_out, expected, answers))
        return run.metric


if __name__ == "__main__":
    main()
