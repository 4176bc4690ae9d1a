"""Stage `export`: write the model as ONNX, and in it preprocessing, signature and provenance."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from omegaconf import DictConfig

from workflow import files
from workflow.config.schema import plain
from workflow.errors import CommandError
from workflow.launch import set_variables
from workflow.onnx_file import predictor
from workflow.paths import CHECKPOINT, MODEL, PREPARED_DATA, TRAIN_RUN
from workflow.prepared import read_split
from workflow.shards import Rows
from workflow.signature import decode, decode_target, signature
from workflow.training.unfinished import remove_recorded

BATCH_SIZES = (1, 2, 64)  # in which the exported file is compared with the trained model


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> None:
    set_variables(plain(config))
    remove_recorded(TRAIN_RUN)
    MODEL.parent.mkdir(parents=True, exist_ok=True)
    try:
        export(CHECKPOINT, MODEL, PREPARED_DATA, config.export.samples)
    except CommandError as error:
        raise SystemExit(f"export: {error}") from None
    print(f"{MODEL.as_posix()} written, {MODEL.stat().st_size / 1024:,.0f} KiB")


def export(checkpoint_path: Path, model_path: Path, data_folder: Path, samples: int) -> None:
    """Write a checkpoint of `train` as ONNX.

    The graph takes the inputs of the signature as `prepare` writes them. The metadata holds
    `signature`, `provenance`, `config` and `samples` as JSON.

    Raises:
        CommandError: ONNX lacks a part of the model, or onnxruntime answers differently on samples
            of the test split.
    """
    import onnx

    from .model import Model

    model, config, provenance = Model.load(checkpoint_path)
    _, train_target = read_split(data_folder, "train")
    declared = signature(config["data"], train_target)
    names = [spec["name"] for spec in declared["inputs"]]
    inputs, target = read_split(data_folder, "test", names)

    proto = model.export_onnx(declared, take(inputs, 2))
    metadata = {
        "signature": declared,
        "provenance": provenance,
        "config": config,
        "samples": examples(declared, inputs, target, samples),
    }
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in metadata.items()})
    onnx.checker.check_model(proto)
    content = proto.SerializeToString()
    predict = predictor(content)
    for size in BATCH_SIZES:
        batch = take(inputs, size)
        compare(predict(batch), model.answer(batch), scale(declared, target))
    files.replace(model_path, content)  # which may be served right now


def take(inputs: Mapping[str, Rows], number: int) -> dict[str, np.ndarray]:
    """Return the first samples; from the first on again, where there are not so many."""
    return {name: array[np.arange(number) % len(array)] for name, array in inputs.items()}


def examples(
    declared: dict[str, Any], inputs: Mapping[str, Rows], target: np.ndarray, number: int
) -> list[dict[str, Any]]:
    """Return test samples as a person gives them, and their actual class or value.

    Classes take turns; values are spread from the smallest to the largest.
    """
    (output,) = declared["outputs"]
    if output["kind"] == "classes":
        members = [np.flatnonzero(target == index) for index in range(len(output["names"]))]
        turns = itertools.zip_longest(*members)
        indices = [index for turn in turns for index in turn if index is not None][:number]
    else:
        places = np.linspace(0, len(target) - 1, min(number, len(target))).round().astype(int)
        indices = np.argsort(target)[places].tolist()
    actual = decode_target(output, target[indices])
    columns = [decode(spec, inputs[spec["name"]][indices]) for spec in declared["inputs"]]
    names = [spec["name"] for spec in declared["inputs"]]
    return [
        {"inputs": dict(zip(names, values, strict=True)), "actual": one}
        for values, one in zip(zip(*columns, strict=True), actual, strict=True)
    ]


def scale(declared: dict[str, Any], target: np.ndarray) -> float:
    """Return the size of a usual difference between two answers."""
    is_value = declared["outputs"][0]["kind"] == "value"
    return max(float(target.std()), 1e-6) if is_value else 1.0


def compare(answer: np.ndarray, expected: np.ndarray, usual: float) -> None:
    """Compare the answers of an exported file to a batch with those of the trained model.

    Args:
        answer, expected: (n, classes), or (n,).
        usual: as `scale` returns it.

    Raises:
        CommandError: they differ by more than a ten-thousandth of `usual`.
    """
    size = len(expected)
    if answer.shape != expected.shape:
        shapes = f"{list(answer.shape)}, not {list(expected.shape)}"
        raise CommandError(f"onnxruntime answers {shapes}, to a batch of {size}")
    if not np.allclose(answer, expected, rtol=1e-4, atol=1e-4 * usual):
        worst = np.abs(answer - expected).max()
        raise CommandError(
            f"onnxruntime differs from the trained model by {worst:.2g} in a batch of {size}"
        )


if __name__ == "__main__":
    main()
