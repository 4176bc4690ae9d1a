"""Stage `export`: write the model as ONNX, and in it preprocessing, signature and provenance."""

import itertools
import json
import logging
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from omegaconf import DictConfig

from workflow import files
from workflow.paths import CHECKPOINT, MODEL, PREPARED_DATA, TRAIN_RUN

from .prepare import pixel_type


class ExportError(Exception):
    """The exported file does not compute what the trained model computes."""


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> None:
    from workflow.lightning.resume import remove_recorded

    remove_recorded(TRAIN_RUN)
    MODEL.parent.mkdir(parents=True, exist_ok=True)
    export(CHECKPOINT, MODEL, PREPARED_DATA, config.export.samples)
    print(f"{MODEL.as_posix()} written, {MODEL.stat().st_size / 1024:,.0f} KiB")


def export(checkpoint_path: Path, model_path: Path, data_folder: Path, samples: int) -> None:
    """Write a checkpoint of `train` as ONNX.

    Input `images`: (batch, rows, columns), raw, of `pixel_type`. Output `probabilities`: float32
    (batch, classes). The metadata holds `signature`, `provenance` and `samples` as JSON.

    Raises:
        ExportError: onnxruntime answers otherwise than PyTorch on the written file.
    """
    import onnx
    import torch

    from .model import Classifier

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it asks for torchvision

    checkpoint = torch.load(checkpoint_path, map_location="cpu", weights_only=True)
    settings = checkpoint["hyper_parameters"]["config"]
    classifier = Classifier(settings)
    classifier.load_state_dict(checkpoint["state_dict"])
    model = torch.nn.Sequential(classifier.standardize, classifier.network, torch.nn.Softmax(1))
    model.eval()

    data = settings["data"]
    rows, columns = data["image_shape"]
    generator = np.random.default_rng(0)
    pixels = pixel_type(data["max_value"])
    images = generator.integers(0, data["max_value"] + 1, (2, rows, columns), dtype=pixels)
    batch = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        model,
        (torch.from_numpy(images),),
        input_names=["images"],
        output_names=["probabilities"],
        dynamic_shapes=({0: batch},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(
        proto,
        {
            "signature": json.dumps(signature(data)),
            "provenance": json.dumps(checkpoint["provenance"]),
            "samples": json.dumps(examples(data_folder, data["classes"], samples)),
        },
    )
    onnx.checker.check_model(proto)
    content = proto.SerializeToString()
    _compare(content, images, model(torch.from_numpy(images)).detach().numpy())
    files.replace(model_path, content)  # which may be served right now


def signature(data: dict[str, Any]) -> dict[str, Any]:
    """Return names, types and shapes of input and output; -1 is the size of the batch."""
    datatype = str(pixel_type(data["max_value"])).upper()
    return {
        "inputs": [{"name": "images", "datatype": datatype, "shape": [-1, *data["image_shape"]]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(data["classes"])]}
        ],
        "classes": data["classes"],
        "max_value": data["max_value"],
    }


def examples(folder: Path, classes: list[str], number: int) -> list[dict[str, Any]]:
    """Return test samples with their labels, the classes taking turns."""
    images = np.load(folder / "test_images.npy", mmap_mode="r")
    labels = np.load(folder / "test_labels.npy")
    members = [np.flatnonzero(labels == index) for index in range(len(classes))]
    turns = itertools.zip_longest(*members)
    chosen = [index for turn in turns for index in turn if index is not None][:number]
    return [{"image": images[i].tolist(), "label": classes[labels[i]]} for i in chosen]


def _compare(content: bytes, images: np.ndarray, expected: np.ndarray) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"images": images})
    if not np.allclose(answer, expected, atol=1e-4):
        difference = np.abs(answer - expected).max()
        raise ExportError(f"onnxruntime differs from PyTorch by {difference:.2g}")


if __name__ == "__main__":
    main()
