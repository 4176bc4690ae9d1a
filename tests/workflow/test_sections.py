"""The sections of an evaluation hold what is counted by hand, and become files of reports/."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from my_ml_project.evaluate import evaluate_classes, evaluate_value
from PIL import Image
from workflow import signature
from workflow.paths import METRICS, PICTURES, PREDICTIONS, PREPARED_DATA, SECTIONS
from workflow.report import sections
from workflow.report.evaluation import Evaluation
from workflow.report.importance import importances

# Answered: cat, dog, cat (the first of equals), dog. Of two cats one is found, of two dogs one.
TARGET = np.array([0, 0, 1, 1])
PROBABILITIES = np.array([[0.8, 0.2], [0.4, 0.6], [0.5, 0.5], [0.1, 0.9]], np.float32)
ANSWERED = PROBABILITIES.argmax(axis=1)
CLASSES = {"name": "probabilities", "kind": "classes", "names": ["cat", "dog"]}
VALUE = {"name": "value", "kind": "value", "label": "weight", "unit": "kg"}
TABLE = {
    "kind": "features",
    "columns": [{"name": "error"}, {"name": "predicted", "choices": ["red", "green"]}],
}
INPUTS = signature.inputs(
    {
        "inputs": {
            "photo": {"kind": "image", "rows": 5, "columns": 4, "channels": 3, "max_value": 255},
            "table": TABLE,
            "comment": {"kind": "text", "length": 400},
        }
    }
)
SAMPLES = {
    "photo": np.zeros((4, 5, 4, 3), np.uint8),
    "table": np.array([[3, 1], [4.1, 0], [5, 1], [6, 0]], np.float32),
    "comment": signature.encode(INPUTS[2], ["bad", "größer", "x" * 400, ""]),
}


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(evaluation: Evaluation, inputs: list[dict]) -> dict[str, dict]:
    """Write an evaluation, and return its sections by kind."""
    arrays = {spec["name"]: SAMPLES[spec["name"]] for spec in inputs}
    evaluation.write(arrays, inputs)
    return {one["kind"]: one for one in json.loads(SECTIONS.read_text(encoding="utf-8"))}


def test_confusions_and_metrics_of_each_class() -> None:
    matrix = sections.confusion_matrix(TARGET, ANSWERED, ["cat", "dog"])
    assert matrix["counts"] == [[1, 1], [1, 1]]
    metrics = sections.class_metrics(np.array([0, 0, 1]), np.array([0, 0, 0]), ["cat", "dog"])
    assert metrics["columns"] == ["precision", "recall", "F1", "samples"]
    assert metrics["rows"] == [["cat", pytest.approx(2 / 3), 1.0, 0.8, 2], ["dog", 0, 0, 0, 1]]


def test_calibration_compares_confidence_with_right_answers() -> None:
    probabilities = np.array([[0.95, 0.05]] * 4 + [[0.45, 0.55]] * 2)
    section = sections.calibration(np.array([0, 0, 0, 1, 1, 1]), probabilities)
    low, high = section["bins"]
    assert low == {"confidence": pytest.approx(0.55), "accuracy": 1.0, "samples": 2}
    assert high == {"confidence": pytest.approx(0.95), "accuracy": 0.75, "samples": 4}
    assert section["error"] == pytest.approx((2 * 0.45 + 4 * 0.2) / 6)


def test_residuals_show_some_samples_and_count_all() -> None:
    target = np.linspace(0, 10, 2000, dtype=np.float32)
    section = sections.residuals(target, target + 2, "weight", "kg", limit=100)
    assert len(section["actual"]) == len(section["predicted"]) == 100
    assert sum(section["counts"]) == section["samples"] == 2000
    assert section["mean"] == pytest.approx(2)


def test_a_classification_is_evaluated(reports: Path) -> None:
    evaluation = evaluate_classes(TARGET, PROBABILITIES, CLASSES)
    assert evaluation.metrics["accuracy"] == 0.5
    assert evaluation.metrics["loss"] == pytest.approx(-np.log([0.8, 0.4, 0.5, 0.9]).mean())
    shown = written(evaluation, INPUTS[1:2])
    assert list(shown) == ["confusion_matrix", "class_metrics", "calibration", "mistakes_rows"]
    table = shown["mistakes_rows"]
    assert table["columns"] == ["actual", "predicted", "confidence", "error", "predicted (input)"]
    worst, _ = table["rows"]
    assert worst == ["cat", "dog", pytest.approx(0.6), 4.1, "red"], "the most confident first"
    rows = list(csv.DictReader(PREDICTIONS.open(encoding="utf-8")))
    assert rows[1] == {"actual": "cat", "predicted": "dog", "confidence": "0.6"}
    assert [path.name for path in PICTURES.iterdir()] == ["confusion_matrix.png"]


def test_a_regression_has_no_classes_to_show(reports: Path) -> None:
    PREPARED_DATA.mkdir(parents=True)
    np.save(PREPARED_DATA / "train_target.npy", np.array([0, 4], np.float32))
    target = np.array([1, 2, 3, 4], np.float32)
    evaluation = evaluate_value(target, np.array([1, 2, 3, 8], np.float32), VALUE)
    shown = written(evaluation, INPUTS)
    metrics = json.loads(METRICS.read_text(encoding="utf-8"))
    assert metrics == {"mae": 1, "rmse": 2, "r2": pytest.approx(-2.2), "loss": 1}
    assert list(shown) == ["residuals", "mistakes_pictures", "mistakes_rows"]
    columns = ["actual", "predicted", "error", "error (input)", "predicted (input)", "comment"]
    assert shown["mistakes_rows"]["columns"] == columns
    assert shown["mistakes_rows"]["rows"][0] == [4, 8, 4, 6, "red", ""], "the largest error first"
    texts = [row[-1] for row in shown["mistakes_rows"]["rows"]]
    assert texts[1:3] == ["bad", "größer"]
    assert len(texts[3]) < 400
    with Image.open(shown["mistakes_pictures"]["file"]) as picture:
        assert picture.width > 800


def test_an_input_of_an_unknown_kind_is_not_shown(reports: Path) -> None:
    plain = [{"name": "photo", "datatype": "UINT8", "shape": [-1, 5, 4, 3]}]
    shown = written(evaluate_classes(TARGET, PROBABILITIES, CLASSES), plain)
    assert list(shown) == ["confusion_matrix", "class_metrics", "calibration"]


def test_pictures_of_an_earlier_evaluation_are_removed(reports: Path) -> None:
    evaluation = evaluate_classes(TARGET, PROBABILITIES, CLASSES)
    written(evaluation, INPUTS)
    assert (PICTURES / "worst_mistakes.png").exists()
    written(evaluation, INPUTS[1:])
    assert not (PICTURES / "worst_mistakes.png").exists()


def test_the_column_that_decides_is_the_most_important_one() -> None:
    spec = {"name": "table", "kind": "features", "columns": [{"name": n} for n in "abc"]}
    table = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    target = 3 * table[:, 1] + table[:, 2]

    def loss(samples: dict[str, np.ndarray], expected: np.ndarray) -> float:
        given = samples["table"]
        return float(((3 * given[:, 1] + given[:, 2] - expected) ** 2).mean())

    shown = importances([spec], {"table": table}, target, loss, seed=0)
    assert shown is not None
    names, rises, _ = zip(*shown["rows"], strict=True)
    assert names == ("b", "c", "a")
    # Permuted, a column of variance 1 adds twice the square of its weight (Breiman, 2001).
    assert rises == pytest.approx((18, 2, 0), rel=0.25)
    assert importances([{"name": "x", "kind": "image"}], {}, target, loss, seed=0) is None
