"""What a W&B run shows of the best model: each kind of input as a person reads it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from my_ml_project import train as stage
from my_ml_project.prepare import SPLITS
from workflow import signature
from workflow.config.schema import plain
from workflow.paths import PREPARED_DATA
from workflow.training.best_model import ConfusionMatrix, PredictionsTable, Samples

DATA = {
    "inputs": {
        "offer": {
            "kind": "features",
            "columns": [{"name": "rooms"}, {"name": "actual", "choices": ["Bern", "Oslo"]}],
        },
        "remark": {"kind": "text", "length": 8},
        "photo": {"kind": "image", "rows": 2, "columns": 2, "channels": 3, "max_value": 4},
        "layers": {"kind": "image", "rows": 1, "columns": 1, "channels": 2, "max_value": 4},
    },
    "target": {"kind": "classes", "names": ["sold", "open"]},
}
GIVEN: dict[str, Any] = {
    "offer": [{"rooms": 3, "actual": "Oslo"}, {"rooms": 2.5, "actual": "Bern"}],
    "remark": ["sunny", "größer"],
    "photo": np.arange(24).reshape(2, 2, 2, 3) % 5,
    "layers": [[[[1, 2]]], [[[3, 4]]]],
}


def samples(target: dict[str, Any], actual: list, answers: list) -> Samples:
    declared = signature.signature({**DATA, "target": target})
    inputs = {
        spec["name"]: signature.encode(spec, GIVEN[spec["name"]]) for spec in declared["inputs"]
    }
    return Samples(declared, inputs, np.array(actual), np.array(answers))


def test_classes_are_shown_the_least_certain_first() -> None:
    classes = samples(DATA["target"], [0, 1], [[0.9, 0.1], [0.6, 0.4]])
    table = PredictionsTable(rows=64).show(classes)["predictions"]
    assert table.columns == [
        *("rooms", "actual (input)", "remark", "photo", "layers"),
        *("actual", "predicted", "confidence"),
    ]
    first, second = table.data
    assert first[:3] == [2.5, "Bern", "größer"]
    assert first[4:] == ["[[[3, 4]]]", "open", "sold", pytest.approx(0.6)]
    assert second[:3] == [3, "Oslo", "sunny"]
    assert isinstance(first[3], wandb.Image)
    assert np.asarray(second[3].image).tolist() == (GIVEN["photo"][0] * 255 // 4).tolist()
    assert list(ConfusionMatrix().show(classes)) == ["confusion_matrix"]


def test_values_are_shown_the_largest_error_first() -> None:
    values = samples({"kind": "value", "name": "price"}, [10.0, 20.0], [10.5, 12.0])
    table = PredictionsTable(rows=1).show(values)["predictions"]
    assert table.columns[-3:] == ["actual", "predicted", "error"]
    assert [row[-3:] for row in table.data] == [[20, 12, 8]]


@pytest.mark.slow
def test_a_regression_has_predicted_by_actual_in_place_of_a_confusion_matrix(
    workspace: Path, config: Callable[..., Any]
) -> None:
    settings = plain(config("model=mlp", "tracking.mode=offline", "trainer.max_epochs=1"))
    settings["data"]["target"] = {"kind": "value", "name": "price", "unit": "EUR"}
    settings["model"]["target"] = settings["data"]["target"]
    values = np.linspace(100, 200, len(np.load(workspace / PREPARED_DATA / "train_target.npy")))
    for split in SPLITS:
        np.save(workspace / PREPARED_DATA / f"{split}_target.npy", values.astype(np.float32))
    stage.train(settings, workspace / "run")
    (file,) = workspace.glob("wandb/offline-run-*/files/media/table/predicted_by_actual*.json")
    table = json.loads(file.read_text(encoding="utf-8"))
    assert table["columns"] == ["actual", "predicted"]
    actual, predicted = np.array(table["data"]).T
    assert actual == pytest.approx(values)
    assert np.abs(predicted - 150).max() < 100, "in the unit of the target"
    assert not [*workspace.glob("wandb/offline-run-*/files/media/table/confusion_matrix*")]
