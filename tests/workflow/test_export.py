"""The exported file answers as the trained model does, and says what it is."""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from my_ml_project.data import ArrayDataset
from my_ml_project.evaluate import predict
from my_ml_project.export import export
from my_ml_project.model import Classifier
from running import train
from workflow.config.schema import plain
from workflow.monitoring.features import current
from workflow.paths import CONF, PREPARED_DATA, ROOT
from workflow.serving import input_log as log
from workflow.serving import model, protocol

MODELS = sorted(path.stem for path in (ROOT / CONF / "model").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_exported_model_answers_as_the_trained_one(name: str, workspace: Path, config) -> None:
    settings = config(f"model={name}", "tracking.mode=offline")
    train(settings, workspace / "run")
    old = workspace / "cache.onnx"
    old.write_bytes(b"the previous model")
    os.link(old, workspace / "model.onnx")  # as DVC may put it there from its cache
    export(workspace / "run" / "model.ckpt", workspace / "model.onnx", PREPARED_DATA, samples=15)
    assert old.read_bytes() == b"the previous model"

    checkpoint = torch.load(workspace / "run" / "model.ckpt", weights_only=True)
    classifier = Classifier(checkpoint["hyper_parameters"]["config"])
    classifier.load_state_dict(checkpoint["state_dict"])
    classifier.eval()
    data = settings.data
    generator = np.random.default_rng(1)
    for number in (1, 3, 64):
        shape = (number, *data.image_shape)
        images = generator.integers(0, data.max_value + 1, shape, dtype=np.uint8)
        probabilities, metadata = predict(workspace / "model.onnx", images)
        with torch.inference_mode():
            expected = classifier(torch.from_numpy(images)).softmax(dim=1).numpy()
        np.testing.assert_allclose(probabilities, expected, atol=1e-5)

    signature = metadata["signature"]
    assert signature["classes"] == list(data.classes)
    session = onnxruntime.InferenceSession(workspace / "model.onnx")
    (stored_input,), (stored_output,) = session.get_inputs(), session.get_outputs()
    assert stored_input.name == signature["inputs"][0]["name"]
    assert stored_input.shape[1:] == signature["inputs"][0]["shape"][1:]
    assert stored_output.name == signature["outputs"][0]["name"]
    assert stored_output.shape[1:] == signature["outputs"][0]["shape"][1:]

    samples = json.loads(session.get_modelmeta().custom_metadata_map["samples"])
    assert [sample["label"] for sample in samples] == [*data.classes, *data.classes[:5]]
    assert np.shape([sample["image"] for sample in samples]) == (15, *data.image_shape)

    (run,) = (workspace / "wandb").glob("offline-run-*")
    assert metadata["provenance"]["run"]["id"] in run.name
    assert metadata["provenance"]["seed"] == settings.seed


@pytest.mark.slow
@pytest.mark.parametrize(("max_value", "datatype"), [(4095, "UINT16"), (70_000, "UINT32")])
def test_pixels_above_255_are_served_as_they_were_trained_on(
    max_value: int, datatype: str, workspace: Path, config, prepared
) -> None:
    settings = config("model=mlp", f"data.max_value={max_value}")
    folder = prepared(workspace / "deep", settings.data)
    images = np.load(folder / "test_images.npy")
    assert images.max() > 0.8 * max_value
    train_images = ArrayDataset(folder, "train").images
    classifier = Classifier(plain(settings)).eval()
    classifier.standardize.fit(train_images)
    checkpoint = {
        "hyper_parameters": {"config": plain(settings)},
        "state_dict": classifier.state_dict(),
        "provenance": {},
    }
    torch.save(checkpoint, workspace / "model.ckpt")
    export(workspace / "model.ckpt", workspace / "model.onnx", folder, samples=10)
    with torch.inference_mode():
        expected = classifier(torch.from_numpy(images)).softmax(dim=1).numpy()

    served = model.load("deep", workspace / "model.onnx")
    assert served.metadata()["inputs"][0]["datatype"] == datatype
    assert np.max([sample["image"] for sample in served.samples]) > 255
    tensor = {"name": "images", "datatype": datatype, "shape": list(images.shape)}
    as_json = json.dumps({"inputs": [{**tensor, "data": images.ravel().tolist()}]}).encode()
    size = {"parameters": {"binary_data_size": images.nbytes}}
    binary = json.dumps({"inputs": [{**tensor, **size}]}).encode() + images.tobytes()
    for body in (as_json, binary):
        _, asked = protocol.decode(body, served.signature)
        np.testing.assert_array_equal(asked, images)
        np.testing.assert_allclose(served.predict(asked), expected, atol=1e-5)

    entry = log.Entry(time=0, request_id=None, images=images, answers=expected)
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
