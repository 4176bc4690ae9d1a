"""Networks from elsewhere, by config alone: trained, frozen in part, exported; or refused."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from my_ml_project.export import export
from my_ml_project.model import Model
from omegaconf import DictConfig
from running import train, write_prepared
from test_train import same, weights
from torch import Tensor, nn
from workflow.config.compose import compose
from workflow.config.schema import plain
from workflow.config.values import ConfigError
from workflow.lightning.networks import ByteModel
from workflow.paths import CONF, PREPARED_DATA, ROOT

PLAIN = "workflow.lightning.networks.PlainModule"
Composer = Callable[..., DictConfig]


class SmallResNet(nn.Module):
    """Takes and returns what the networks of torchvision do."""

    def __init__(self, channels: int = 1, num_classes: int = 10, **others: int) -> None:
        super().__init__(**others)
        self.conv1 = nn.Conv2d(channels, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Linear(32, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.pool(self.bn1(self.conv1(images)).relu()).flatten(1))


def from_folder(path: str) -> nn.Module:
    return torch.load(path)


class Pair(nn.Module):
    """Returns two tensors."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images


@pytest.fixture
def composed(workspace: Path, small: list[str]) -> Composer:
    """Composes a copy of conf/ in which conf/model/elsewhere.yaml is chosen."""
    shutil.copytree(ROOT / CONF, workspace / CONF)

    def compose_with(node: dict[str, Any], *overrides: str) -> DictConfig:
        text = yaml.safe_dump(node)
        (workspace / CONF / "model" / "elsewhere.yaml").write_text(text, encoding="utf-8")
        return compose([*small, "model=elsewhere", *overrides], workspace / CONF)

    return compose_with


def elsewhere(target: str = f"{__name__}.SmallResNet", **arguments: Any) -> dict[str, Any]:
    return {"_target_": PLAIN, "module": {"_target_": target, **arguments}}


def test_a_module_from_elsewhere_trains_and_is_exported(workspace: Path, composed) -> None:
    losses = [
        train(composed(elsewhere(), f"trainer.max_epochs={epochs}"), workspace / f"run-{epochs}")
        for epochs in (1, 6)
    ]
    assert losses[1] < losses[0]
    checkpoint = workspace / "run-6" / "model.ckpt"
    export(checkpoint, workspace / "model.onnx", PREPARED_DATA, samples=2)
    assert "network.module.conv1.weight" in weights(workspace / "run-6")


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (
            elsewhere(channels=3),
            r"model: SmallResNet does not take images \(n, 1, 8, 8\): .*3 channels",
        ),
        (
            elsewhere(num_classes=1000),
            r"model: SmallResNet returns \(n, 1000\), and not \(n, 10\) for",
        ),
        (elsewhere(f"{__name__}.Pair"), "model: Pair returns a tuple, not a tensor"),
        (elsewhere("torch.nn.Bilinear", in1_features=8, in2_features=8, out_features=10), "images"),
        (elsewhere("torch.nn.Linear", in_features=-8, out_features=10), "model: .*dimension"),
        (elsewhere(nam_classes=10), "model: .* unexpected keyword argument 'nam_classes'"),
        (
            elsewhere(f"{__name__}.from_folder", path="data/none"),
            "model: .*No such file",
        ),
        (elsewhere("no_such.Net"), r"no module no_such; if it is a package: uv add no_such"),
    ],
)
def test_a_module_that_does_not_fit_is_one_line_before_the_run(
    node: dict[str, Any], said: str, workspace: Path, composed
) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        train(composed(node, "tracking.mode=offline"), workspace / "run")
    assert "\n" not in str(refused.value)
    assert not list(workspace.glob("wandb/*run-*"))


FROZEN = ["callbacks=[default,freeze,ema]", "optimizer.weight_decay=0.1"]


def test_frozen_weights_stay_bit_for_bit_and_the_others_train(workspace: Path, composed) -> None:
    node = elsewhere()
    train(composed(node, "trainer.max_epochs=1"), workspace / "past")
    names = "callbacks.freeze.names=[module.conv1.*,module.bn1.*]"
    tune = [*FROZEN, names, "train.init_from=past/model.ckpt"]
    train(composed(node, *tune), workspace / "run")
    before, after = weights(workspace / "past"), weights(workspace / "run")
    for name in before:
        is_frozen = name.startswith(("network.module.conv1.", "network.module.bn1."))
        is_trained = name.startswith("network.") and not is_frozen
        assert torch.equal(before[name], after[name]) != is_trained, name

    interrupt = "+callbacks.interrupt._target_=test_start.InterruptOnce"
    long = [*tune, "trainer.max_epochs=4"]
    train(composed(node, *long), workspace / "whole")
    with pytest.raises(RuntimeError, match="interrupted"):
        train(composed(node, *long, interrupt), workspace / "killed")
    train(composed(node, *long, interrupt), workspace / "killed")
    assert same(weights(workspace / "whole"), weights(workspace / "killed"))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            "[conv1.*]",
            r"callbacks\.freeze\.names: conv1\.\* matches none of module\.conv1\.weight,",
        ),
        ('["*"]', r"callbacks\.freeze\.names: leaves nothing to train"),
    ],
)
def test_what_cannot_be_frozen_is_one_line_before_the_run(
    names: str, said: str, workspace: Path, composed
) -> None:
    settings = composed(
        elsewhere(), *FROZEN, f"callbacks.freeze.names={names}", "tracking.mode=offline"
    )
    with pytest.raises(ConfigError, match=said):
        train(settings, workspace / "run")
    assert not list(workspace.glob("wandb/*run-*"))


class SmallEncoder(nn.Module):
    """Takes and returns what the encoders of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden_size=16)
        self.shared = nn.Embedding(384, 16)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=self.shared(input_ids))


TEXT = {"comment": {"kind": "text", "length": 24}}
GOOD_OR_BAD = {"kind": "classes", "names": ["bad", "good"]}


def byte_model(encoder: dict[str, Any]) -> dict[str, Any]:
    return {
        "_target_": "workflow.lightning.networks.ByteModel",
        "inputs": "${data.inputs}",
        "target": "${data.target}",
        "offset": 3,
        "encoder": encoder,
    }


@pytest.fixture
def texts(workspace: Path) -> list[str]:
    """Prepared data of texts, as conf/data/texts.yaml declares it; the overrides that choose it."""
    shutil.rmtree(workspace / PREPARED_DATA)
    target = np.arange(60) % 2
    words = [["awful", "slow"], ["great", "fast"]]
    comments = [f"it was {words[label][number % 3 > 0]}" for number, label in enumerate(target)]
    data = {"name": "texts", "inputs": TEXT, "target": GOOD_OR_BAD}
    write_prepared({"comment": np.array(comments), "target": target}, data)
    data |= {"validation_fraction": 0.2, "test_fraction": 0.2}
    (workspace / CONF / "data" / "texts.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    return ["data=texts", "trainer.max_epochs=8", "optimizer.lr=0.01"]


def test_a_text_model_that_reads_bytes_is_tuned_and_exported(
    composed, texts: list[str], workspace: Path
) -> None:
    node = byte_model({"_target_": f"{__name__}.SmallEncoder"})
    assert train(composed(node, *texts), workspace / "run") < 0.5
    export(workspace / "run" / "model.ckpt", workspace / "model.onnx", PREPARED_DATA, samples=2)


def test_the_padding_of_a_text_changes_no_answer() -> None:
    torch.manual_seed(0)
    model = ByteModel(TEXT, GOOD_OR_BAD, SmallEncoder(), offset=3)
    text = torch.tensor([list(b"good")])
    padded = nn.functional.pad(text, (0, 20))
    assert torch.allclose(model({"comment": text}), model({"comment": padded}))
    assert model({"comment": torch.zeros_like(padded)}).isfinite().all()


def test_a_text_model_takes_one_text(composed) -> None:
    settings = plain(composed(byte_model({"_target_": f"{__name__}.SmallEncoder"})))
    with pytest.raises(ConfigError, match=r"ByteModel takes one text, .* has image"):
        Model(settings)


LIBRARIES = Path(__file__).resolve().parents[1] / "libraries.txt"


@pytest.fixture
def libraries(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes timm, torchvision and transformers importable, as `uv add` does in a project."""
    folder = tmp_path_factory.mktemp("libraries")
    uv = os.environ.get("UV", "uv")
    install = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--no-deps"]
    subprocess.run([*install, "--target", str(folder), "-r", str(LIBRARIES)], check=True)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


COLOURS = [
    "data.inputs.images={kind: image, rows: 16, columns: 16, channels: 3, max_value: 255}",
    "trainer.max_epochs=1",
]


@pytest.mark.slow
@pytest.mark.weekly
def test_networks_of_libraries_train_and_are_exported(
    libraries: None, workspace: Path, composed, prepared: Callable[..., Path]
) -> None:
    import timm

    shutil.rmtree(workspace / PREPARED_DATA)
    resnet = elsewhere("torchvision.models.resnet18", num_classes=10)
    prepared(workspace / PREPARED_DATA, composed(resnet, *COLOURS).data)
    backbone = timm.create_model("test_resnet", num_classes=7)  # others than are wanted
    timm.models.save_for_hf(backbone, workspace / "backbone", safe_serialization=True)
    pretrained = elsewhere(
        "timm.create_model", model_name="local-dir:backbone", pretrained=True, num_classes=10
    )
    frozen = ["callbacks=[default,freeze]", "callbacks.freeze.names=[module.conv1.*,module.bn1.*]"]
    for name, node, options in [("resnet", resnet, []), ("pretrained", pretrained, frozen)]:
        train(composed(node, *COLOURS, *options), workspace / name)
        export(workspace / name / "model.ckpt", workspace / "model.onnx", PREPARED_DATA, samples=0)

    after = weights(workspace / "pretrained")
    kept = {
        name
        for name, before in backbone.state_dict().items()
        if torch.equal(before, after[f"network.module.{name}"])
    }
    assert kept == {name for name in backbone.state_dict() if name.startswith(("conv1.", "bn1."))}


@pytest.mark.slow
@pytest.mark.weekly
def test_a_pretrained_text_model_is_read_from_a_folder(
    libraries: None, workspace: Path, composed, texts: list[str]
) -> None:
    from transformers import T5Config, T5EncoderModel

    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    encoder = T5EncoderModel(T5Config(vocab_size=384, **sizes))
    encoder.save_pretrained(workspace / "data" / "byt5")
    node = yaml.safe_load(documented("byt5"))
    names = 'callbacks.freeze.names=["encoder.shared.*","encoder.encoder.block.0.*"]'
    options = [*texts, "callbacks=[default,freeze]", names, "trainer.max_epochs=6"]
    assert train(composed(node, *options), workspace / "run") < 0.5
    after = weights(workspace / "run")
    for name, before in encoder.state_dict().items():
        is_frozen = name.startswith(("shared.", "encoder.embed_tokens.", "encoder.block.0."))
        assert torch.equal(before, after[f"network.encoder.{name}"]) == is_frozen, name
    export(workspace / "run" / "model.ckpt", workspace / "model.onnx", PREPARED_DATA, samples=2)


def documented(name: str) -> str:
    """A file of conf/model/, as docs/your-own.md shows it."""
    text = (ROOT / "docs" / "your-own.md").read_text(encoding="utf-8")
    return (
        text.partition(f"```yaml\n# conf/model/{name}.yaml")[2].partition("\n")[2].split("```")[0]
    )
