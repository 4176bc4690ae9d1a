"""Stage `evaluate`: measure the exported file, the thing that ships, on the test split."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from omegaconf import DictConfig

from workflow import files
from workflow.config.schema import plain
from workflow.onnx_file import weights_sha256
from workflow.paths import (
    CLASS_METRICS,
    METRICS,
    MODEL,
    PREDICTIONS,
    PREPARED_DATA,
    REPORTS,
    TRAIN_METRICS,
    WORST_MISTAKES,
)
from workflow.variables import VariableError


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> None:
    images = np.load(PREPARED_DATA / "test_images.npy", mmap_mode="r")
    labels = np.load(PREPARED_DATA / "test_labels.npy")
    probabilities, metadata = predict(MODEL, images)
    classes = metadata["signature"]["classes"]
    measures = measure(labels, probabilities, classes)

    REPORTS.mkdir(exist_ok=True)
    write_json(CLASS_METRICS, measures.pop("classes"))
    write_json(METRICS, measures)
    write_predictions(PREDICTIONS, labels, probabilities, classes)
    draw_worst_mistakes(WORST_MISTAKES, images, labels, probabilities, classes)
    try:
        _track(config, measures, metadata["provenance"])
    except VariableError as error:
        raise SystemExit(f"environment: {error}") from None
    print(f"test accuracy {measures['accuracy']:.4f} on {len(labels)} samples")


def predict(
    model_path: Path, images: np.ndarray, batch_size: int = 1024
) -> tuple[np.ndarray, dict[str, Any]]:
    """Run an exported model.

    Args:
        images: (n, rows, columns), raw, of the type that `prepare` wrote.
    Returns:
        probabilities, float32 (n, classes), and the `signature` and `provenance` in the file.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(model_path, providers=["CPUExecutionProvider"])
    answers = [
        session.run(None, {"images": np.asarray(images[start : start + batch_size])})[0]
        for start in range(0, len(images), batch_size)
    ]
    metadata = session.get_modelmeta().custom_metadata_map
    return np.concatenate(answers), {key: json.loads(text) for key, text in metadata.items()}


def measure(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Return accuracy, loss (cross-entropy, nats) and, for each class, what sklearn reports.

    Args:
        labels: (n,), class indices.
        probabilities: (n, classes).
    """
    from sklearn.metrics import accuracy_score, log_loss, precision_recall_fscore_support

    predicted = probabilities.argmax(axis=1)
    indices = list(range(len(classes)))
    exact = probabilities / probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
    columns = precision_recall_fscore_support(labels, predicted, labels=indices, zero_division=0)
    names = ("precision", "recall", "f1", "samples")
    rows = np.column_stack(columns).tolist()
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "loss": float(log_loss(labels, exact, labels=indices)),
        "classes": {
            name: dict(zip(names, row, strict=True))
            for name, row in zip(classes, rows, strict=True)
        },
    }


def write_json(path: Path, measures: dict[str, Any]) -> None:
    text = json.dumps(measures, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    files.replace(path, text)


def write_predictions(
    path: Path, labels: np.ndarray, probabilities: np.ndarray, classes: list[str]
) -> None:
    """Write one row a test sample: its actual and predicted class, and the confidence."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["actual", "predicted", "confidence"])
    for label, row in zip(labels, probabilities, strict=True):
        writer.writerow([classes[label], classes[row.argmax()], f"{row.max():.4f}"])
    files.replace(path, text.getvalue())


def draw_worst_mistakes(
    path: Path,
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: list[str],
    most: int = 24,
) -> None:
    """Draw the wrong answers as a grid, the most confident first."""
    from matplotlib.figure import Figure

    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong])][:most]

    columns = 8
    rows = max(1, -(-len(worst) // columns))
    figure = Figure(figsize=(1.4 * columns, 1.9 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, index in zip(axes, worst, strict=False):
        axis.imshow(images[index], cmap="gray_r")
        answer = f"{classes[predicted[index]]} ({confidence[index]:.0%})"
        axis.set_title(f"is {classes[labels[index]]}\nsaid {answer}", fontsize=9)
    if not len(worst):
        figure.text(0.5, 0.5, "No mistake on the test split", ha="center", va="center")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=100, metadata={"Software": None})
    files.replace(path, image.getvalue())


def _track(config: DictConfig, measures: dict[str, Any], made_from: dict[str, Any]) -> None:
    import wandb

    from workflow.tracking.run import WEIGHTS, finish_run, return_to_run

    run = return_to_run(plain(config), made_from["run"]["id"])
    # Synced later, the summary of the last process replaces that of `train`: say it again.
    run.summary.update(json.loads(TRAIN_METRICS.read_text(encoding="utf-8")))
    run.summary.update({"test/accuracy": measures["accuracy"], "test/loss": measures["loss"]})
    run.summary[WEIGHTS] = weights_sha256(MODEL)
    run.log({"test/worst_mistakes": wandb.Image(str(WORST_MISTAKES))})
    artifact = wandb.Artifact("model", type="model", metadata=made_from)
    artifact.add_file(str(MODEL))
    run.log_artifact(artifact)
    finish_run(run)


if __name__ == "__main__":
    main()
