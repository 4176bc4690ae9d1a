"""The networks, and the module that trains them."""

import re
import sys
from pathlib import Path
from typing import get_args

import lightning as L
import numpy as np
import pytest
import torch
from my_ml_project.export import export
from my_ml_project.model import Model
from my_ml_project.preprocess import Preprocess, Standardize
from running import train
from torch import nn
from workflow import signature
from workflow.config.pytorch import Trainer
from workflow.config.schema import plain
from workflow.config.values import ConfigError
from workflow.lightning.devices import hardware
from workflow.paths import PREPARED_DATA

PRECISIONS = get_args(Trainer.__annotations__["precision"])[1].choices


IMAGE = {"kind": "image", "rows": 4, "columns": 5, "max_value": 255}
PHOTO = {**IMAGE, "channels": 3}
TABLE = {
    "kind": "features",
    "columns": [{"name": "age"}, {"name": "colour", "choices": ["a", "b", "c"]}, {"name": "year"}],
}
CHOICES = {"kind": "features", "columns": [{"name": "colour", "choices": ["a", "b"]}]}
TEXT = {"kind": "text", "length": 12}
CLASSES = {"kind": "classes", "names": ["cat", "dog"]}
VALUE = {"kind": "value", "name": "price", "unit": "EUR"}
DATA = [
    ("cnn", {"grey": IMAGE}, CLASSES),
    ("cnn", {"photo": PHOTO}, VALUE),
    ("mlp", {"photo": PHOTO}, CLASSES),
    ("mlp", {"table": TABLE}, VALUE),
    ("mlp", {"only": CHOICES}, CLASSES),
    ("mlp", {"values": TABLE, "text": TEXT, "photo": IMAGE}, CLASSES),
]


def batch(declared: dict, number: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Random inputs and targets of the config's `data`."""
    generator = np.random.default_rng(0)
    arrays = {}
    for spec in signature.inputs(declared):
        shape = (number, *spec["shape"][1:])
        if spec["kind"] == "features":
            limits = [len(column.get("choices", range(99))) for column in spec["columns"]]
            array = (np.arange(number)[:, None] % limits).astype(np.float32)
        else:
            array = generator.integers(0, spec.get("max_value", 122) + 1, shape, dtype=np.uint8)
        arrays[spec["name"]] = torch.from_numpy(array)
    target = np.arange(number) % 2
    if declared["target"]["kind"] == "value":
        target = (1000 + 7 * target).astype(np.float32)
    return arrays, torch.from_numpy(target)


def model(config, name: str, inputs: dict, target: dict) -> Model:
    settings = plain(config(f"model={name}", "model.dropout=0"))
    data = {"inputs": inputs, "target": target}
    return Model({**settings, "data": data, "model": {**settings["model"], **data}})


@pytest.mark.parametrize(("name", "inputs", "target"), DATA)
def test_one_batch_can_be_learned_by_heart(name: str, inputs: dict, target: dict, config) -> None:
    torch.manual_seed(0)
    learner = model(config, name, inputs, target)
    samples, actual = batch({"inputs": inputs, "target": target}, 8)
    learner.fit_preprocessing(samples, actual)
    optimizer = learner.configure_optimizers()
    for _ in range(150):
        loss = learner.training_step((samples, actual), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    answers = learner(samples)
    if target is VALUE:  # in its own unit
        assert (answers - actual).abs().max() < 1
    else:
        assert answers.sum(dim=1).allclose(torch.ones(8))
        assert answers.argmax(dim=1).equal(actual)


def test_cnn_refuses_what_is_no_image_and_names_the_network_that_takes_it(config) -> None:
    with pytest.raises(ConfigError, match=r"model: CNN takes one image, .* text: model=mlp"):
        model(config, "cnn", {"table": TABLE, "comment": TEXT}, CLASSES)


@pytest.mark.parametrize("size", [(), (3,)])
def test_standardize_makes_mean_0_and_std_1(size: tuple[int, ...]) -> None:
    raw = torch.randint(0, 256, (10_000, 2, 3), dtype=torch.uint8)
    standardize = Standardize(size)
    standardize.fit(raw)
    values = standardize(raw)
    dims = (0, 1) if size else (0, 1, 2)
    assert values.mean(dims).abs().max() < 1e-4
    assert (values.std(dims) - 1).abs().max() < 1e-4
    assert standardize.invert(values).round().equal(raw.float())


def test_large_samples_are_read_a_few_at_a_time() -> None:
    class Rows(np.ndarray):
        def __getitem__(self, key):
            part = super().__getitem__(key)
            assert part.size <= 2**20
            return np.asarray(part)

    Standardize().fit(np.zeros((12, 1000, 1000), np.uint8).view(Rows))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_batches_leave_no_memory_behind(config) -> None:
    image = {"kind": "image", "rows": 64, "columns": 64, "channels": None, "max_value": 255}
    network = model(config, "mlp", {"images": image}, CLASSES)

    def memory() -> int:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return int(re.findall(r"RssAnon:\s+(\d+)", status)[0]) // 1024

    def batch() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        rows = np.zeros((512, 64, 64), np.uint8)
        return {"images": torch.from_numpy(rows[np.arange(256)])}, torch.zeros(256).long()

    memories = []
    with torch.no_grad():
        for number in range(300):
            network.validation_step(batch(), number)
            memories.append(memory())
    assert memories[-1] - memories[50] < 200, memories[::50]  # MiB; else more than 500


@pytest.mark.parametrize("constant", [0.0, 3.0, 0.1, -1e6])
def test_standardize_survives_a_constant(constant: float) -> None:
    standardize = Standardize((1,))
    standardize.fit(torch.full((5000, 1), constant))
    assert standardize(torch.tensor([[constant]])).tolist() == [[0]]
    assert standardize(torch.tensor([[constant + 1]])).abs().max() <= 1


def test_a_choice_is_one_of_the_columns_of_0_and_1() -> None:
    features = Preprocess({"table": TABLE})
    table = torch.tensor([[30.0, 2.0, 1990.0], [50.0, 0.0, 2010.0]])
    features.fit({"table": table})
    assert features({"table": table})["table"].tolist() == [[-1, -1, 0, 0, 1], [1, 1, 1, 0, 0]]


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
    recorded = hardware(plain(config("trainer.accelerator=auto"))["trainer"])["accelerator"]
    used = L.Trainer(accelerator="auto", logger=False, enable_checkpointing=False).accelerator
    name = type(used).__name__.removesuffix("Accelerator").lower()
    assert recorded == (torch.cuda.get_device_name() if name == "cuda" else name)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["trainer=gpu", "trainer.devices=[99]"], r"trainer\.(devices: \[99\]|accelerator: gpu)"),
        (["trainer=tpu"], r"trainer\.accelerator: tpu: needs a machine with TPUs, and torch_xla"),
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

    def __init__(self, name: str, pixels: int, classes: int) -> None:
        super().__init__(nn.Flatten(), nn.BatchNorm1d(pixels), nn.Linear(pixels, classes))
        self.name = name

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return super().forward(inputs[self.name])


def test_batchnorm_trains_where_one_sample_is_left_for_the_last_batch(
    workspace: Path, config
) -> None:
    samples = len(np.load(workspace / PREPARED_DATA / "train_target.npy"))
    settings = config(f"loader.batch_size={samples - 1}")
    (spec,) = signature.inputs(settings.data)
    settings.model = {
        "_target_": f"{__name__}.Normalized",
        "name": spec["name"],
        "pixels": int(np.prod(spec["shape"][1:])),
        "classes": len(settings.data.target.names),
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
    learner = Model(checkpoint["hyper_parameters"]["config"])
    learner.load_state_dict(checkpoint["state_dict"])
    data = plain(config())["data"]
    samples, _ = batch(data, 3)
    assert learner(samples).shape == (3, len(data["target"]["names"]))
