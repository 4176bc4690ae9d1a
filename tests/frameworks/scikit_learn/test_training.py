"""What a training records: its curve, its folds, and the same again from the same seed."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from my_ml_project.model import Model
from my_ml_project.train import train
from random_data import CLASSES, TABLE, VALUE
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from test_estimators import FREE, SIZES
from workflow.paths import PREPARED_DATA
from workflow.prepared import read_split

BOOSTED = [name for name in FREE if name.startswith(("boost", "xgboost", "lightgbm"))]
HISTOGRAM = ("gradient_boosting_classifier", "gradient_boosting_regressor")


def result(config: dict[str, Any], folder: Path) -> dict[str, float]:
    """Train in a new folder; return the metrics."""
    folder.mkdir()
    metric = train(config, folder)
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    assert metrics["val/loss"] == metric
    return metrics


@pytest.mark.parametrize("name", [*BOOSTED, *HISTOGRAM])
def test_the_curve_of_a_boosting_ends_with_the_metrics_of_its_model(
    name: str, config, prepare, tmp_path: Path
) -> None:
    if name in FREE:
        model, target = FREE[name]
        settings = config(inputs=TABLE, target=target, model=model)
    else:
        target = VALUE if name.endswith("regressor") else CLASSES
        size = SIZES["gradient_boosting"]
        settings = config(f"model={name}", *size, inputs=TABLE, target=target)
    prepare(settings)
    metrics = result(settings, tmp_path / "run")
    with (tmp_path / "run/history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == [str(n) for n in range(len(rows))]
    assert len(rows) == metrics["epochs"] > 1

    model, _, provenance = Model.load(tmp_path / "run/model.ckpt")
    assert provenance["seed"] == 0
    inputs, expected = read_split(PREPARED_DATA, "validation", list(TABLE))
    measured = model.metrics(model.answer(inputs), expected)
    for metric, value in measured.items():
        assert float(rows[-1][f"val/{metric}"]) == pytest.approx(value, abs=1e-5, rel=1e-5)
        assert metrics[f"val/{metric}"] == pytest.approx(value, rel=1e-5)


SCORES = [
    (CLASSES, "logistic_regression", StratifiedKFold, {"accuracy": "accuracy"}),
    (VALUE, "ridge", KFold, {"mae": "neg_mean_absolute_error"}),
]


@pytest.mark.parametrize(("target", "model", "splitter", "scores"), SCORES)
def test_cross_validation_is_that_of_scikit_learn(
    target, model, splitter, scores, config, prepare, tmp_path: Path
) -> None:
    settings = config(
        f"model={model}", "trainer.cross_validation=3", "seed=4", inputs=TABLE, target=target
    )
    prepare(settings)
    metrics = result(settings, tmp_path / "run")
    inputs, expected = read_split(PREPARED_DATA, "train", list(TABLE))
    folds = splitter(3, shuffle=True, random_state=4)
    learner = Model(settings)
    for metric, scoring in scores.items():
        found = cross_val_score(
            learner.estimator, inputs["table"], expected, cv=folds, scoring=scoring
        )
        assert metrics[f"cv/{metric}_mean"] == pytest.approx(abs(found.mean()), rel=1e-5)
        assert metrics[f"cv/{metric}_std"] == pytest.approx(found.std(), rel=1e-5)


def test_the_same_seed_gives_the_same_model_and_metrics(config, prepare, tmp_path: Path) -> None:
    settings = config("model=random_forest_classifier", "model.n_estimators=5")
    prepare(settings)
    metrics = [result(settings, tmp_path / name) for name in ("first", "second")]
    assert metrics[0] == metrics[1]
    inputs, _ = read_split(PREPARED_DATA, "test", list(settings["data"]["inputs"]))
    answers = [
        Model.load(tmp_path / name / "model.ckpt")[0].answer(inputs) for name in ("first", "second")
    ]
    np.testing.assert_array_equal(*answers)
