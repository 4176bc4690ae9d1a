"""What a training records: its curve, its folds, and the same again from the same seed."""

import csv
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from my_ml_project.model import Model
from my_ml_project.train import train
from random_data import CLASSES, TABLE, VALUE
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from test_estimators import FREE, SHIPPED, shipped
from workflow.checkpoint_file import PROVENANCE, STAMP
from workflow.config.values import ConfigError
from workflow.paths import PREPARED_DATA, ROOT
from workflow.prepared import read_split
from workflow.scikit_learn.checkpoint import CONFIG, MODEL
from workflow.tracking.log_reader import read_records

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
        settings = shipped(config, name)
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


@pytest.mark.parametrize("name", SHIPPED)
def test_the_same_seed_gives_the_same_bytes(name: str, config, prepare, tmp_path: Path) -> None:
    settings = shipped(config, name)
    prepare(settings)
    runs = [tmp_path / run for run in ("first", "second")]
    first, second = ((result(settings, run), members(run / "model.ckpt")) for run in runs)
    assert first == second


def members(checkpoint: Path) -> dict[str, bytes]:
    """What is in a checkpoint, but for its provenance, which names the run and its time."""
    with zipfile.ZipFile(checkpoint) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    del content[PROVENANCE]
    assert set(content) == {f"{STAMP}.json", CONFIG, MODEL}
    return content


PRESS = """
import os, signal
from pathlib import Path

class Press:
    def show(self, samples):
        if not Path("pressed").exists():
            Path("pressed").touch()
            os.kill(os.getpid(), signal.SIGINT)
        return {"pressed": 1}
"""


def test_an_interrupted_training_starts_over_in_the_same_run(
    config, prepare, tmp_path: Path
) -> None:
    prepare(config())
    (tmp_path / "their_callbacks.py").write_text(PRESS)
    command = [sys.executable, "-m", "my_ml_project.train", "hydra.run.dir=runs/train"]
    command += ["model=gradient_boosting_classifier", "model.max_iter=5", "tracking.mode=offline"]
    command += ["model.early_stopping=false", "+callbacks.press._target_=their_callbacks.Press"]
    paths = os.pathsep.join([str(ROOT), str(tmp_path)])
    variables = {**os.environ, "PYTHONPATH": paths, "DVC_ROOT": str(tmp_path)}
    codes, printed = [], []
    for _ in range(2):
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        codes.append(done.returncode)
        printed.append(done.stdout + done.stderr)
    assert codes == [1, 0], printed
    assert printed[0].splitlines()[-1] == "interrupted: the next `inv train` starts over"
    assert "Traceback" not in printed[0]
    assert (tmp_path / "runs/train/model.ckpt").exists()

    logs = sorted(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(logs) == 2
    assert len({log.name for log in logs}) == 1
    records = [record for log in logs for record in read_records(log.read_bytes())]
    rows = [record.history for record in records if record.WhichOneof("record_type") == "history"]
    with (tmp_path / "runs/train/history.csv").open(encoding="utf-8") as file:
        epochs = len(list(csv.DictReader(file)))
    steps = [row.step.num for row in rows]
    assert steps == [*range(epochs + 3)]  # each iteration once, then what each callback shows


def test_data_that_an_estimator_does_not_take_is_one_line(config, prepare, tmp_path: Path) -> None:
    target = {"kind": "classes", "names": list("abcdef")}
    settings = config("model=gradient_boosting_classifier", inputs=TABLE, target=target)
    prepare(settings)  # of 30 samples, early stopping holds out 3: fewer than classes
    with pytest.raises(ConfigError, match=r"model: .*test_size = 3 .*number of classes = 6") as it:
        result(settings, tmp_path / "run")
    assert "\n" not in str(it.value)


def test_that_it_does_not_stream_is_one_line(config) -> None:
    for override in ("loader=stream", "prepare.shard_mb=64"):
        with pytest.raises(ConfigError, match="fits all samples at once, it does not stream"):
            config(override)
