"""Stage `evaluate`: evaluate the exported file, the thing that ships, on the test split."""

from collections.abc import Callable
from typing import Any

import hydra
import numpy as np
from omegaconf import DictConfig

from workflow.config.schema import plain
from workflow.errors import CommandError
from workflow.onnx_file import predictor, read_metadata
from workflow.paths import MODEL, PREPARED_DATA
from workflow.prepared import read_split
from workflow.report import sections
from workflow.report.evaluation import Evaluation
from workflow.report.importance import importances
from workflow.signature import Inputs, decode_target
from workflow.tracking.evaluation import log_evaluation
from workflow.variables import VariableError

Loss = Callable[[np.ndarray, np.ndarray], float]  # of targets and answers


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> None:
    try:
        evaluate(config)
    except CommandError as error:
        raise SystemExit(f"evaluate: {error}") from None
    except VariableError as error:
        raise SystemExit(f"environment: {error}") from None


def evaluate(config: DictConfig) -> None:
    """Write reports/ of the test split.

    Raises:
        CommandError: the prepared data is damaged.
        VariableError: a variable that the W&B run needs is wrong.
    """
    signature = read_metadata(MODEL)["signature"]
    names = [spec["name"] for spec in signature["inputs"]]
    inputs, target = read_split(PREPARED_DATA, "test", names)
    (output,) = signature["outputs"]
    evaluate_kind = {"classes": evaluate_classes, "value": evaluate_value}[output["kind"]]
    predict, loss = predictor(MODEL), loss_of(output)

    def measure(samples: Inputs, expected: np.ndarray) -> float:
        return loss(expected, predict(samples))

    evaluation = evaluate_kind(target, predict(inputs), output)
    if shown := importances(signature["inputs"], inputs, target, measure, config.seed):
        evaluation.sections.append(shown)
    evaluation.write(inputs, signature["inputs"])
    log_evaluation(plain(config), evaluation.metrics)
    texts = [f"{name} {value:.4g}" for name, value in evaluation.metrics.items()]
    print(f"test: {', '.join(texts)} on {len(target)} samples")


def loss_of(output: dict[str, Any]) -> Loss:
    """Return what computes `loss` of targets (n,) and answers, as the two functions below say it.

    Args:
        output: from the model's signature.
    """
    from sklearn.metrics import log_loss, root_mean_squared_error

    if output["kind"] == "classes":
        labels = range(len(output["names"]))

        def cross_entropy(target: np.ndarray, probabilities: np.ndarray) -> float:
            exact = probabilities / probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
            return float(log_loss(target, exact, labels=labels))

        return cross_entropy
    _, trained = read_split(PREPARED_DATA, "train")
    std = trained.std()

    def standardized_error(target: np.ndarray, values: np.ndarray) -> float:
        return float((float(root_mean_squared_error(target, values)) / std) ** 2)

    return standardized_error


def evaluate_classes(
    target: np.ndarray, probabilities: np.ndarray, output: dict[str, Any]
) -> Evaluation:
    """Evaluate a classification: `loss` is the cross-entropy, in nats.

    Args:
        target: (n,), class indices.
        probabilities: (n, classes).
        output: from the model's signature.
    """
    from sklearn.metrics import accuracy_score

    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != target)
    classes = output["names"]
    return Evaluation(
        metrics={
            "accuracy": float(accuracy_score(target, predicted)),
            "loss": loss_of(output)(target, probabilities),
        },
        sections=[
            sections.confusion_matrix(target, predicted, classes),
            sections.class_metrics(target, predicted, classes),
            sections.calibration(target, probabilities),
        ],
        predictions={
            "actual": decode_target(output, target),
            "predicted": decode_target(output, predicted),
            "confidence": confidence.tolist(),
        },
        worst=wrong[np.argsort(-confidence[wrong])],
    )


def evaluate_value(target: np.ndarray, predicted: np.ndarray, output: dict[str, Any]) -> Evaluation:
    """Evaluate a regression: `loss` is the mean squared error of the standardised values.

    Args:
        target, predicted: (n,), in the unit of the target.
        output: from the model's signature.
    """
    from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

    return Evaluation(
        metrics={
            "mae": float(mean_absolute_error(target, predicted)),
            "rmse": float(root_mean_squared_error(target, predicted)),
            "r2": float(r2_score(target, predicted)),
            "loss": loss_of(output)(target, predicted),
        },
        sections=[sections.residuals(target, predicted, output["label"], output.get("unit"))],
        predictions={
            "actual": decode_target(output, target),
            "predicted": decode_target(output, predicted),
            "error": (predicted - target).tolist(),
        },
        worst=np.argsort(-np.abs(predicted - target)),
    )


if __name__ == "__main__":
    main()
