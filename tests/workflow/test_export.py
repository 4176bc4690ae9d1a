"""The exported file answers as the trained model does, and says what it is."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from my_ml_project.data import ArrayDataset
from my_ml_project.export import export
from my_ml_project.model import Model
from running import train, write_prepared
from torch import nn
from workflow.config.schema import plain
from workflow.errors import CommandError
from workflow.monitoring.features import current
from workflow.onnx_file import predict, read_metadata
from workflow.paths import PREPARED_DATA
from workflow.serving import input_log as log
from workflow.serving import model, protocol
from workflow.signature import decode, encode


@pytest.mark.slow
def test_exported_model_answers_as_the_trained_one(workspace: Path, config) -> None:
    settings = config("tracking.mode=offline")
    train(settings, workspace / "run")
    old = workspace / "cache.onnx"
    old.write_bytes(b"the previous model")
    os.link(old, workspace / "model.onnx")  # as DVC may put it there from its cache
    export(workspace / "run" / "model.ckpt", workspace / "model.onnx", PREPARED_DATA, samples=15)
    assert old.read_bytes() == b"the previous model"

    checkpoint = torch.load(workspace / "run" / "model.ckpt", weights_only=True)
    learner = Model(checkpoint["hyper_parameters"]["config"])
    learner.load_state_dict(checkpoint["state_dict"])
    learner.eval()
    data = settings.data
    images = np.load(workspace / PREPARED_DATA / "test_images.npy")
    metadata = read_metadata(workspace / "model.onnx")
    for number in (1, 3, 64):
        batch = images[np.arange(number) % len(images)]
        probabilities = predict(workspace / "model.onnx", {"images": batch})
        with torch.inference_mode():
            expected = learner({"images": torch.from_numpy(batch)}).numpy()
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)

    signature = metadata["signature"]
    session = onnxruntime.InferenceSession(workspace / "model.onnx")
    (stored_input,), (stored_output,) = session.get_inputs(), session.get_outputs()
    assert stored_input.name == signature["inputs"][0]["name"]
    assert stored_input.shape[1:] == signature["inputs"][0]["shape"][1:]
    assert stored_output.name == signature["outputs"][0]["name"]
    assert stored_output.shape[1:] == signature["outputs"][0]["shape"][1:]

    samples = metadata["samples"]
    names = list(data.target.names)
    assert [sample["actual"] for sample in samples] == [*names, *names[:5]]
    assert np.shape([sample["inputs"]["images"] for sample in samples]) == (15, *images.shape[1:])
    assert metadata["config"]["optimizer"] == plain(settings)["optimizer"]

    (run,) = (workspace / "wandb").glob("offline-run-*")
    assert metadata["provenance"]["run"]["id"] in run.name
    assert metadata["provenance"]["seed"] == settings.seed


def checkpoint_of(learner: Model, path: Path) -> Path:
    content = {
        "hyper_parameters": {"config": learner.config},
        "state_dict": learner.state_dict(),
        "provenance": {},
    }
    torch.save(content, path)
    return path


# A table with a choice, a text and a colour image at once; and each kind of target.
INPUTS = {
    "values": {
        "kind": "features",
        "columns": [
            {"name": "age", "unit": "years"},
            {"name": "colour", "choices": ["red", "blue"]},
        ],
    },
    "comment": {"kind": "text", "length": 12},
    "photo": {"kind": "image", "rows": 3, "columns": 2, "channels": 3, "max_value": 4095},
}
TARGETS = [
    {"kind": "classes", "names": ["cat", "dog"]},
    {"kind": "value", "name": "price", "unit": "EUR"},
]


@pytest.fixture
def several_kinds(workspace: Path) -> Callable[..., tuple[dict, np.ndarray]]:
    """Writes prepared data of several kinds to data/prepared, and returns the test split."""

    def write(data: dict) -> tuple[dict, np.ndarray]:
        raw = {
            "age": np.linspace(-5, 99.1, 12),
            "colour": np.array(["red", "blue"] * 6),
            "comment": np.array(["größe", "x"] * 6),
            "photo": np.arange(12 * 18).reshape(12, 3, 2, 3) * 18,
            "target": np.arange(12) % 2
            if data["target"]["kind"] == "classes"
            else np.arange(12) / 8,
        }
        return write_prepared(raw, data)

    return write


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_several_kinds_are_exported_with_samples_that_give_the_same_answers(
    target: dict, several_kinds: Callable, workspace: Path, config
) -> None:
    settings = plain(config("model=mlp"))
    data = {**settings["data"], "inputs": INPUTS, "target": target}
    node = {**settings["model"], "inputs": INPUTS, "target": target}
    inputs, targets = several_kinds(data)
    learner = Model({**settings, "data": data, "model": node}).eval()
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    learner.fit_preprocessing(tensors, torch.from_numpy(targets))
    path = checkpoint_of(learner, workspace / "model.ckpt")
    export(path, workspace / "model.onnx", PREPARED_DATA, samples=4)

    metadata = read_metadata(workspace / "model.onnx")
    specs, (output,) = metadata["signature"]["inputs"], metadata["signature"]["outputs"]
    assert [spec["name"] for spec in specs] == list(INPUTS)
    session = onnxruntime.InferenceSession(workspace / "model.onnx")
    with torch.inference_mode():
        expected = learner(tensors).numpy()
    (answers,) = session.run([output["name"]], inputs)
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-5)
    samples = metadata["samples"]
    # What a person gives is the very sample that the model is asked.
    rows = decode(specs[0], inputs["values"])
    indices = [rows.index(one["inputs"]["values"]) for one in samples]
    for spec in specs:
        encoded = encode(spec, [one["inputs"][spec["name"]] for one in samples])
        np.testing.assert_array_equal(encoded, inputs[spec["name"]][indices])
    actual = [one["actual"] for one in samples]
    if target["kind"] == "value":  # from the smallest to the largest
        assert actual == [0, 0.5, 0.875, 1.375]
        assert output["quantiles"] == sorted(set(output["quantiles"]))
    else:
        assert actual == ["cat", "dog", "cat", "dog"]


class Rounded(nn.Module):
    """A network that is exported otherwise than it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        (pixels,) = inputs.values()
        scale = 2.0 if torch.compiler.is_exporting() else 1.0
        return pixels.flatten(1)[:, :10] * self.weight * scale


class Inexpressible(Rounded):
    """A network with an operation that ONNX lacks."""

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        (pixels,) = inputs.values()
        return torch.linalg.svdvals(pixels[:, 0]).repeat(1, 2)[:, :10] * self.weight


def test_a_network_that_onnx_lacks_is_one_line(workspace: Path, config) -> None:
    settings = plain(config())
    settings["model"] = {"_target_": f"{__name__}.Inexpressible"}
    path = checkpoint_of(Model(settings), workspace / "model.ckpt")
    with pytest.raises(
        CommandError, match=r"^Inexpressible cannot be written as ONNX: "
    ) as refused:
        export(path, workspace / "model.onnx", PREPARED_DATA, samples=0)
    assert "\n" not in str(refused.value)


def test_a_file_that_answers_differently_is_not_written(workspace: Path, config) -> None:
    settings = plain(config())
    settings["model"] = {"_target_": f"{__name__}.Rounded"}
    path = checkpoint_of(Model(settings), workspace / "model.ckpt")
    with pytest.raises(CommandError, match="onnxruntime differs from the trained model by"):
        export(path, workspace / "model.onnx", PREPARED_DATA, samples=0)
    assert not (workspace / "model.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("max_value", "datatype"), [(4095, "UINT16"), (70_000, "UINT32")])
def test_pixels_above_255_are_served_as_they_were_trained_on(
    max_value: int, datatype: str, workspace: Path, config, prepared
) -> None:
    settings = config("model=mlp", f"data.inputs.images.max_value={max_value}")
    folder = prepared(workspace / "deep", settings.data)
    images = np.load(folder / "test_images.npy")
    assert images.max() > 0.8 * max_value
    samples = ArrayDataset(folder, "train", ["images"])
    learner = Model(plain(settings)).eval()
    learner.fit_preprocessing(samples.inputs, samples.target)
    path = checkpoint_of(learner, workspace / "model.ckpt")
    export(path, workspace / "model.onnx", folder, samples=10)
    with torch.inference_mode():
        expected = learner({"images": torch.from_numpy(images)}).numpy()

    served = model.load("deep", workspace / "model.onnx")
    assert served.metadata()["inputs"][0]["datatype"] == datatype
    assert np.max([sample["inputs"]["images"] for sample in served.samples]) > 255
    tensor = {"name": "images", "datatype": datatype, "shape": list(images.shape)}
    as_json = json.dumps({"inputs": [{**tensor, "data": images.ravel().tolist()}]}).encode()
    size = {"parameters": {"binary_data_size": images.nbytes}}
    binary = json.dumps({"inputs": [{**tensor, **size}]}).encode() + images.tobytes()
    for body in (as_json, binary):
        _, asked = protocol.decode(body, served.signature)
        np.testing.assert_array_equal(asked["images"], images)
        np.testing.assert_allclose(served.predict(asked), expected, atol=1e-5)

    entry = log.Entry(time=0, request_id=None, inputs={"images": images}, answers=expected)
    kept = current(served, log.table([entry], served))
    assert kept["brightness"] == pytest.approx(images.mean(axis=(1, 2)) / max_value)


def test_predict_in_batches_is_predict_at_once(workspace: Path, config) -> None:
    settings = config()
    train(settings, workspace / "run")
    export(workspace / "run" / "model.ckpt", workspace / "model.onnx", PREPARED_DATA, samples=0)
    inputs = {"images": np.load(workspace / "data" / "prepared" / "test_images.npy")}
    at_once = predict(workspace / "model.onnx", inputs)
    in_batches = predict(workspace / "model.onnx", inputs, batch_size=7)
    np.testing.assert_allclose(in_batches, at_once, atol=1e-6)
