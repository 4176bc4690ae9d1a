"""The networks, and the module that trains them."""

from pathlib import Path
from typing import get_args

import lightning as L
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from my_ml_project.export import export
from my_ml_project.model import Classifier, Standardize
from running import train
from torch import nn
from workflow.config.schema import Trainer, plain
from workflow.config.values import ConfigError
from workflow.paths import CONF, PREPARED_DATA, ROOT
from workflow.tracking import provenance

MODELS = sorted(path.stem for path in (ROOT / CONF / "model").glob("*.yaml"))
PRECISIONS = get_args(Trainer.__annotations__["precision"])[1].choices


def images(data, number: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (number, *data.image_shape)
    return torch.randint(0, data.max_value + 1, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("number", [1, 5])
def test_one_logit_for_each_class(name: str, number: int, config) -> None:
    settings = config(f"model={name}")
    logits = instantiate(settings.model)(images(settings.data, number).float())
    assert logits.shape == (number, len(settings.data.classes))
    assert logits.isfinite().all()


def test_standardize_makes_mean_0_and_deviation_1(config) -> None:
    raw = images(config().data, 100)
    standardize = Standardize()
    standardize.fit(raw)
    values = standardize(raw)
    assert values.mean().abs() < 1e-5
    assert (values.std() - 1).abs() < 1e-5


def test_standardize_survives_images_without_contrast() -> None:
    flat = torch.full((4, 8, 8), 3, dtype=torch.uint8)
    standardize = Standardize()
    standardize.fit(flat)
    assert standardize(flat).isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_one_batch_can_be_learned_by_heart(name: str, config) -> None:
    settings = config(f"model={name}", "model.dropout=0")
    torch.manual_seed(0)
    classifier = Classifier(plain(settings))
    batch = images(settings.data, 16)
    labels = torch.arange(16) % len(settings.data.classes)
    classifier.standardize.fit(batch)
    optimizer = classifier.configure_optimizers()
    for _ in range(150):
        loss = classifier.training_step((batch, labels), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


class NotePrecision(L.Callback):
    """Notes what Lightning computes in."""

    used = ""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        NotePrecision.used = trainer.precision


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_trains_on_a_cpu_and_the_one_used_is_recorded(
    precision: str, workspace: Path, config
) -> None:
    note = f"+callbacks.note._target_={__name__}.NotePrecision"
    loss = train(config(f"trainer.precision={precision}", "trainer=cpu", note), workspace / "run")
    assert loss < 10
    checkpoint = torch.load(workspace / "run" / "model.ckpt", weights_only=True)
    assert checkpoint["provenance"]["precision"] == NotePrecision.used
    assert checkpoint["provenance"]["accelerator"] == "cpu"
    if precision in ("64-true", "bf16-true"):  # weights of another type than float32
        model = workspace / "model.onnx"
        export(workspace / "run" / "model.ckpt", model, PREPARED_DATA, samples=0)
        assert model.exists()


def test_the_device_that_auto_means_is_recorded(config) -> None:
    recorded = provenance.collect(plain(config("trainer.accelerator=auto")))["accelerator"]
    used = L.Trainer(accelerator="auto", logger=False, enable_checkpointing=False).accelerator
    name = type(used).__name__.removesuffix("Accelerator").lower()
    assert recorded == (torch.cuda.get_device_name() if name == "cuda" else name)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["trainer=gpu", "trainer.devices=[99]"], r"trainer\.(devices: \[99\]|accelerator: gpu)"),
        (["trainer.limit_train_batches=0.001"], "limit_train_batches: 0.001 of 8 batches"),
        (["trainer.limit_val_batches=0.001"], "limit_val_batches: 0.001 of 8 batches"),
    ],
)
def test_what_the_machine_or_the_data_cannot_give_is_refused_before_a_run_starts(
    overrides: list[str], said: str, workspace: Path, config
) -> None:
    with pytest.raises(ConfigError, match=said):
        train(config("tracking.mode=offline", *overrides), workspace / "run")
    assert not list(workspace.glob("wandb/*run-*"))
    assert not (workspace / "run" / "unfinished").exists()


class Normalized(nn.Sequential):
    """A network with BatchNorm."""

    def __init__(self, image_shape: list[int], classes: list[str]) -> None:
        width = image_shape[0] * image_shape[1]
        super().__init__(nn.Flatten(), nn.BatchNorm1d(width), nn.Linear(width, len(classes)))


def test_batchnorm_trains_where_one_sample_is_left_for_the_last_batch(
    workspace: Path, config
) -> None:
    samples = len(np.load(workspace / PREPARED_DATA / "train_labels.npy"))
    settings = config(f"loader.batch_size={samples - 1}")
    settings.model = {
        "_target_": f"{__name__}.Normalized",
        **{key: settings.data[key] for key in ("image_shape", "classes")},
    }
    assert train(settings, workspace / "run") < 10


def test_every_metric_of_each_epoch_is_in_the_history(workspace: Path, config) -> None:
    train(config(), workspace / "run")
    lines = (workspace / "run" / "history.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].split(",") == ["epoch", "train/loss", "val/loss", "val/accuracy"]
    assert all(np.isfinite(float(value)) for line in lines[1:] for value in line.split(","))


def test_checkpoint_loads_without_running_code(workspace: Path, config) -> None:
    train(config(), workspace / "run")
    # Weights and plain types only: a checkpoint of others cannot run code here.
    checkpoint = torch.load(workspace / "run" / "model.ckpt", weights_only=True)
    classifier = Classifier(checkpoint["hyper_parameters"]["config"])
    classifier.load_state_dict(checkpoint["state_dict"])
    assert classifier(images(config().data, 3)).shape == (3, len(config().data.classes))
