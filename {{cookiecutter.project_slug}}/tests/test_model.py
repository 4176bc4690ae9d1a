"""The networks, and the module that trains them."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate

from {{ cookiecutter.package_name }}.model import Classifier, Standardize
from {{ cookiecutter.package_name }}.paths import CONF, ROOT
from {{ cookiecutter.package_name }}.schema import plain
from {{ cookiecutter.package_name }}.train import train

MODELS = sorted(path.stem for path in (ROOT / CONF / "model").glob("*.yaml"))


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


def test_bf16_trains_on_a_cpu(workspace: Path, config) -> None:
    loss = train(config("precision=bf16", "trainer=cpu"), workspace / "run")
    assert loss < 10


def test_checkpoint_loads_without_running_code(workspace: Path, config) -> None:
    train(config(), workspace / "run")
    # Weights and plain types only: a checkpoint of others cannot run code here.
    checkpoint = torch.load(workspace / "run" / "model.ckpt", weights_only=True)
    classifier = Classifier(checkpoint["hyper_parameters"]["config"])
    classifier.load_state_dict(checkpoint["state_dict"])
    assert classifier(images(config().data, 3)).shape == (3, len(config().data.classes))
