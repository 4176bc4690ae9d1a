"""The stages, one after the other, on a few random samples that conf/data/ describes."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from omegaconf import DictConfig

from workflow.paths import HISTORY, METRICS, MODEL, PREDICTIONS, PREPARED_DATA, RAW_DATA


@pytest.fixture(scope="session")
def history(pipeline: Path) -> list[dict[str, str]]:
    """A row for each epoch of the training."""
    return list(csv.DictReader((pipeline / HISTORY).open(encoding="utf-8")))


def test_each_sample_is_in_one_part_of_the_split(pipeline: Path, config: DictConfig) -> None:
    with np.load(pipeline / RAW_DATA / f"{config.data.name}.npz") as raw:
        numbers = {len(raw[name]) for name in raw.files}
    targets = (pipeline / PREPARED_DATA).glob("*_target.npy")
    assert {sum(len(np.load(path)) for path in targets)} == numbers


{% if cookiecutter.framework != "scikit-learn" -%}
def test_each_epoch_has_finite_metrics(history: list[dict[str, str]], config: DictConfig) -> None:
    assert len(history) == config.trainer.{{ 'max_epochs' if cookiecutter.framework == 'pytorch' else 'epochs' }}
{%- else -%}
def test_each_epoch_has_finite_metrics(history: list[dict[str, str]]) -> None:
    assert history
{%- endif %}
    assert all(math.isfinite(float(value)) for row in history for value in row.values())


def test_the_exported_model_takes_what_was_prepared(pipeline: Path) -> None:
    session = onnxruntime.InferenceSession(pipeline / MODEL)
    taken = {one.name: one.shape[1:] for one in session.get_inputs()}
    folder = pipeline / PREPARED_DATA
    prepared = {name: list(np.load(folder / f"test_{name}.npy").shape[1:]) for name in taken}
    assert taken == prepared


def test_the_exported_model_is_evaluated_on_each_sample_of_the_test_split(pipeline: Path) -> None:
    metrics = json.loads((pipeline / METRICS).read_text(encoding="utf-8"))
    assert metrics
    assert all(math.isfinite(value) for value in metrics.values())
    predictions = list(csv.DictReader((pipeline / PREDICTIONS).open(encoding="utf-8")))
    actual = np.load(pipeline / PREPARED_DATA / "test_target.npy")
    assert len(predictions) == len(actual)
