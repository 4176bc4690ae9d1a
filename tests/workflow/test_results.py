"""Metrics and histories are read whatever they are called; one of them decides, either way."""

import math
from pathlib import Path

import pytest
from workflow.deciding_metric import DecidingMetric
from workflow.results import best_epoch, metric_text, read_history, read_metrics

LOSS, SCORE = DecidingMetric("loss", "min"), DecidingMetric("r2", "max")


def test_the_best_epoch_is_that_of_the_metric_that_decides() -> None:
    history = {"val/loss": [0.5, math.nan, 0.25, 0.25], "val/r2": [0.1, 0.9, 0.8, 0.7]}
    assert best_epoch(history, LOSS) == 3
    assert best_epoch(history, SCORE) == 2
    assert best_epoch(history, DecidingMetric("mae", "min")) is None
    assert best_epoch(history, None) is None


def test_a_config_from_before_the_metric_was_named_names_none() -> None:
    assert DecidingMetric.of({"seed": 0}) is None
    assert DecidingMetric.of({"metric": {"name": "r2", "mode": "max"}}) == SCORE


def test_a_value_that_an_epoch_lacks_is_nan(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("epoch,train/loss,val/mae\n0,1.5,\n1,0.5,2\n")
    history = read_history(tmp_path / "history.csv")
    assert history["train/loss"] == [1.5, 0.5]
    assert math.isnan(history["val/mae"][0])
    assert history["val/mae"][1] == 2


def test_what_is_no_number_is_no_metric(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"r2": 0.5, "of": {"a": 1}, "good": true, "n": 3}')
    assert read_metrics(tmp_path / "metrics.json") == {"r2": 0.5, "n": 3}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (20, "20"), (0.98891, "0.9889"), (0.0, "0.0000"), (2.5e-5, "2.50e-05")],
)
def test_metric_text(value: float | None, text: str) -> None:
    assert metric_text(value) == text
