"""The last lines of a task: how a training ended, from the files that it wrote."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflow.paths import HISTORY, PARAMS, TRAIN_METRICS
from workflow.pipeline.outcome import training

STOPPING = {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": "val/loss"}
METRIC = {"name": "loss", "mode": "min"}
PIPELINE = {
    "_target_": "workflow.scikit_learn.estimators.pipeline",
    "scaler": {"_target_": "sklearn.preprocessing.StandardScaler"},
    "estimator": {"_target_": "sklearn.linear_model.LogisticRegression"},
}
BOOSTING = {"_target_": "sklearn.ensemble.HistGradientBoostingClassifier"}


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"trainer": {"max_epochs": 4}}, "epoch 3 of 4 was the best, all were trained"),
        (
            {"trainer": {"max_epochs": 9}, "callbacks": {"stop": {**STOPPING, "patience": 1}}},
            "epoch 3 of 4 was the best, stopped early: no better val/loss in 1 epochs"
            " (trainer.max_epochs=9)",
        ),
        (
            {"trainer": {"epochs": 9}, "callbacks": {"left_out": None}},
            "epoch 3 of 4 was the best, stopped early (trainer.epochs=9)",
        ),
        ({"framework": "scikit-learn", "model": BOOSTING}, "HistGradientBoostingClassifier, 4"),
        ({"framework": "scikit-learn", "model": PIPELINE}, "LogisticRegression, 4 iterations"),
    ],
)
def test_how_a_training_ended(tmp_path: Path, params: dict[str, Any], expected: str) -> None:
    losses = [0.4, 0.3, 0.1, 0.2]
    rows = [f"{epoch},{loss}" for epoch, loss in enumerate(losses)]
    texts = {
        PARAMS: yaml.safe_dump(params | {"metric": METRIC}, sort_keys=False),
        TRAIN_METRICS: json.dumps({"epochs": len(losses)}),
        HISTORY: "\n".join(["epoch,val/loss", *rows]),
    }
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    assert training(tmp_path).startswith(expected)
