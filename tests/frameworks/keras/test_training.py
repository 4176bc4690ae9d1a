"""What a training records, and the same again from the same seed, in one go or interrupted."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from my_ml_project.export import export
from my_ml_project.prepare import SPLITS
from my_ml_project.stream import StreamData
from my_ml_project.train import train
from random_data import CLASSES, PICTURES, TABLE, VALUE
from workflow.config.compose import compose
from workflow.config.values import ConfigError
from workflow.errors import CommandError
from workflow.keras import checkpoint
from workflow.paths import CONF, PREPARED_DATA, ROOT
from workflow.prepared import read_arrays, write

SMALL = ["trainer.epochs=4", "loader.batch_size=8", "model.dropout=0.5"]
STOP_AFTER = "STOP_AFTER_EPOCH"  # an environment variable: the config has to stay the same


class Interrupt(keras.callbacks.Callback):
    """Ends the process's training as Ctrl-C does, in the epoch after the one that is named."""

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if batch == 1 and os.environ.get(STOP_AFTER) == str(self.params["epoch"]):
            raise KeyboardInterrupt

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.params = {**self.params, "epoch": epoch}


def interrupted(settings: dict[str, Any], folder: Path, epoch: int, monkeypatch) -> None:
    settings["callbacks"]["interrupt"] = {"_target_": "test_training.Interrupt"}
    monkeypatch.setenv(STOP_AFTER, str(epoch))
    with pytest.raises(KeyboardInterrupt):
        train(settings, folder)
    monkeypatch.delenv(STOP_AFTER)


def trained(settings: dict[str, Any], folder: Path) -> checkpoint.Saved:
    """Train in a folder; return the checkpoint of the best epoch."""
    folder.mkdir(exist_ok=True)
    settings["callbacks"]["interrupt"] = {"_target_": "test_training.Interrupt"}
    metric = train(settings, folder)
    assert json.loads((folder / "metrics.json").read_text("utf-8"))["val/loss"] == metric
    return checkpoint.read(folder / "model.ckpt")


def same(first: checkpoint.Saved, second: checkpoint.Saved) -> bool:
    return all(
        np.array_equal(mine, theirs)
        for group in first.arrays
        for (_, mine), (_, theirs) in zip(first.arrays[group], second.arrays[group], strict=True)
    )


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "history.csv").open(encoding="utf-8")))


@pytest.mark.parametrize(
    ("overrides", "inputs", "target"),
    [
        (
            ["model=cnn", "optimizer=sgd", "optimizer.gradient_accumulation_steps=3"],
            PICTURES,
            CLASSES,
        ),
        (["model=mlp", "scheduler=cosine"], TABLE, VALUE),
        (["model=mlp", "scheduler=exponential", "scheduler.interval=step"], TABLE, CLASSES),
    ],
)
def test_an_interrupted_training_ends_as_one_in_one_go(
    overrides: list[str], inputs, target, config, prepare, tmp_path: Path, monkeypatch
) -> None:
    def settings() -> dict[str, Any]:
        return config(*SMALL, *overrides, inputs=inputs, target=target)

    prepare(settings())
    whole = trained(settings(), tmp_path / "whole")
    (tmp_path / "parts").mkdir()
    interrupted(settings(), tmp_path / "parts", 2, monkeypatch)
    assert same(whole, trained(settings(), tmp_path / "parts"))
    for name in ("metrics.json", "history.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_early_stopping_counts_on_after_an_interruption(
    config, prepare, tmp_path: Path, monkeypatch
) -> None:
    # With this rate nothing improves, so the epochs after the first are those of the patience.
    options = [*SMALL, "model=mlp", "callbacks.early_stopping.patience=2", "trainer.epochs=9"]

    def settings() -> dict[str, Any]:
        composed = config(*options, "optimizer.learning_rate=0.0", inputs=TABLE, target=CLASSES)
        composed["callbacks"]["early_stopping"]["min_delta"] = 1.0
        return composed

    prepare(settings())
    trained(settings(), tmp_path / "whole")
    assert len(rows(tmp_path / "whole")) == 3
    (tmp_path / "parts").mkdir()
    interrupted(settings(), tmp_path / "parts", 2, monkeypatch)
    trained(settings(), tmp_path / "parts")
    assert len(rows(tmp_path / "parts")) == 3


def test_history_has_the_names_that_every_framework_logs_and_follows_the_seed(
    config, prepare, tmp_path: Path
) -> None:
    settings = [
        config(*SMALL, "model=mlp", f"seed={seed}", inputs=TABLE, target=VALUE) for seed in (0, 1)
    ]
    prepare(settings[0])
    first, other = (trained(one, tmp_path / str(one["seed"])) for one in settings)
    assert not same(first, other)
    names = [*rows(tmp_path / "0")[0]]
    assert names == ["epoch", "train/loss", "train/mae", "val/loss", "val/mae"]


def test_the_weights_of_a_run_are_started_from_and_frozen_layers_stay(
    config, prepare, tmp_path: Path
) -> None:
    options = [*SMALL, "model=mlp"]
    settings = config(*options, inputs=TABLE, target=CLASSES)
    prepare(settings)
    first = trained(settings, tmp_path / "first")
    named = f"train.init_from={tmp_path / 'first' / 'model.ckpt'}"
    frozen = config(*options, "callbacks=[default,freeze]", named, inputs=TABLE, target=CLASSES)
    frozen["callbacks"]["freeze"]["names"] = ["dense*"]
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        trained(frozen, tmp_path / "none")
    hidden = next(name for name in first.shapes if name.endswith("kernel"))
    frozen["callbacks"]["freeze"]["names"] = ["dense"]  # the first one
    second = trained(frozen, tmp_path / "second")
    weights = [dict(one.arrays["network"]) for one in (first, second)]
    np.testing.assert_array_equal(weights[0][hidden], weights[1][hidden])
    assert not same(first, second)
    wider = config(*options, "model.hidden=[5]", named, inputs=TABLE, target=CLASSES)
    with pytest.raises(ConfigError, match=r"train.init_from: .+ has of shape \(4, 128\) as"):
        trained(wider, tmp_path / "wider")


def test_dropout_and_normalization_know_a_training(config, prepare, tmp_path: Path) -> None:
    model = {
        "_target_": "workflow.keras.networks.PlainModel",
        "model": {
            "_target_": "keras.Sequential",
            "layers": [
                {"_target_": "keras.layers.BatchNormalization"},
                {"_target_": "keras.layers.Dropout", "rate": 0.0},
                {"_target_": "keras.layers.Dense", "units": 3},
            ],
        },
    }
    networks = []
    for rate in (0.0, 0.5):
        model["model"]["layers"][1]["rate"] = rate
        settings = config(*SMALL[:2], inputs=TABLE, target=CLASSES, model=model)
        prepare(settings)
        networks.append(dict(trained(settings, tmp_path / str(rate)).arrays["network"]))
    assert not np.array_equal(networks[0]["dense.kernel"], networks[1]["dense.kernel"])
    assert networks[0]["batch_normalization.moving_mean"].any()


def test_a_run_is_resumed_for_more_epochs(config, prepare, tmp_path: Path) -> None:
    settings = config(*SMALL, "model=mlp", inputs=TABLE, target=VALUE)
    prepare(settings)
    first = trained(settings, tmp_path / "first")
    named = f"train.resume={tmp_path / 'first' / 'model.ckpt'}"
    more = ["trainer.epochs=6", named]
    trained(config(*SMALL, "model=mlp", *more, inputs=TABLE, target=VALUE), tmp_path / "more")
    in_one_go = config(*SMALL, "model=mlp", "trainer.epochs=6", inputs=TABLE, target=VALUE)
    trained(in_one_go, tmp_path / "whole")
    assert rows(tmp_path / "more") == rows(tmp_path / "whole")
    assert len(first.state["epochs"]) <= 4
    for overrides, problem in [
        (["trainer.epochs=1"], "leaves none to train"),
        (["optimizer.learning_rate=0.5"], r"optimizer.learning_rate=0.003, this config has 0.5"),
    ]:
        refused = [*SMALL, "model=mlp", named, *overrides]
        with pytest.raises(ConfigError, match=problem):
            trained(config(*refused, inputs=TABLE, target=VALUE), tmp_path / "refused")


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_each_precision_trains_and_is_exported(
    precision: str, config, prepare, tmp_path: Path
) -> None:
    options = [*SMALL, "model=mlp", f"precision={precision}"]
    settings = config(*options, inputs=TABLE, target=VALUE)
    prepare(settings)
    trained(settings, tmp_path / "run")
    export(tmp_path / "run" / "model.ckpt", tmp_path / "model.onnx", PREPARED_DATA, 2)
    assert (tmp_path / "model.onnx").stat().st_size


def test_one_batch_can_be_learnt(config, prepare, tmp_path: Path) -> None:
    settings = config(
        "debug=overfit",
        "trainer.epochs=60",
        "model=mlp",
        "model.dropout=0",
        inputs=TABLE,
        target=CLASSES,
    )
    prepare(settings)
    trained(settings, tmp_path / "run")
    assert float(rows(tmp_path / "run")[-1]["train/loss"]) < 0.1


def test_a_value_is_learnt(config, prepare, tmp_path: Path) -> None:
    options = ["model=mlp", "model.dropout=0", "trainer.epochs=40", "loader.batch_size=8"]
    settings = config(*options, inputs=TABLE, target=VALUE)
    folder = prepare(settings)
    trained(settings, tmp_path / "run")
    spread = np.load(folder / PREPARED_DATA / "validation_target.npy").std()
    assert float(rows(tmp_path / "run")[-1]["val/mae"]) < spread / 2


def test_a_loss_that_is_not_finite_ends_the_training(config, prepare, tmp_path: Path) -> None:
    options = [*SMALL, "model=mlp", "optimizer=sgd", "optimizer.learning_rate=1e30"]
    settings = config(*options, inputs=TABLE, target=VALUE)
    prepare(settings)
    with pytest.raises(CommandError, match=r"diverged.+ in epoch \d/4, step \d+; try a smaller"):
        trained(settings, tmp_path)


def test_a_metric_that_is_not_logged_is_named(config, prepare, tmp_path: Path) -> None:
    options = [*SMALL, "model=mlp", "metric.name=f1", "metric.mode=max"]
    settings = config(*options, inputs=TABLE, target=VALUE)
    prepare(settings)
    with pytest.raises(ConfigError, match=r"metric.name: val/f1 is not logged; logged are"):
        trained(settings, tmp_path)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["backend=torch"], "backend: torch is not installed: uv sync --inexact --extra torch"),
        (["backend=theano"], "backend: .theano. is not one of jax, tensorflow, torch"),
        (["+optimizer.use_ema=true"], "optimizer.use_ema: must be false"),
        (["+optimizer.learnin_rate=1"], "did you mean learning_rate"),
        (["callbacks.early_stopping.mode=max"], "callbacks.early_stopping.mode: must be min"),
        (["optimizer=sgd", "optimizer.nesterov=true", "optimizer.momentum=0"], "needs a momentum"),
        (["+trainer.epoch=3"], "did you mean epochs"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(overrides: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as refused:
        compose(overrides, ROOT / CONF)
    assert "\n" not in str(refused.value)


def test_an_image_gets_another_backend_when_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_NO_SYNC", "1")  # as the images do
    with pytest.raises(ConfigError, match=r"backend: torch is not installed: inv docker.build "):
        compose(["backend=torch"], ROOT / CONF)


def test_a_gpu_that_is_not_there_is_refused(config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer.accelerator: gpu: .+ finds none here"):
        train(config("trainer=gpu", inputs=TABLE, target=CLASSES), tmp_path)


def test_shards_are_trained_on_each_sample_once_and_resumed(
    config, prepare, tmp_path: Path, monkeypatch
) -> None:
    size = 8 * 64 / 2**20  # 8 pictures of the smallest kind, or fewer
    options = ["loader=stream", f"loader.shard_mb={size}", "loader.window=2"]
    settings = config(*SMALL, *options, "model=mlp", inputs=PICTURES, target=CLASSES)
    prepare(settings)
    splits = {split: read_arrays(PREPARED_DATA, split, PICTURES) for split in SPLITS}
    inputs = {
        name: np.concatenate([arrays[name] for arrays, _ in splits.values()]) for name in PICTURES
    }
    target = np.concatenate([target for _, target in splits.values()])
    ends = np.cumsum([len(target) for _, target in splits.values()])
    parts = dict(zip(SPLITS, np.split(np.arange(len(target)), ends[:-1]), strict=True))
    write(PREPARED_DATA, [inputs], target, parts, size)

    given = {**settings["loader"], "seed": 0, "steps": (None, None)}
    del given["_target_"]
    batches = StreamData(PREPARED_DATA, PICTURES, **given).train
    for batches.epoch in (0, 1):
        numbers = [batches.indices(index) for index in range(len(batches))]
        assert sorted(np.concatenate(numbers)) == list(range(30))
        assert batches.indices(2).tolist() == numbers[2].tolist()  # in any order
    whole = trained(settings, tmp_path / "whole")
    interrupted(settings, tmp_path / "run", 2, monkeypatch)
    assert same(trained(settings, tmp_path / "run"), whole)
