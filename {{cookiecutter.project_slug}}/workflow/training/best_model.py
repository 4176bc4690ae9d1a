"""What a W&B run shows of the best model, on the validation split; conf/callbacks/ names it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import wandb
from annotated_types import Ge

from ..signature import Spec, decode, decode_columns, decode_target, distinct, signature

MAX_POINTS = 1000  # of a plot that W&B draws in the browser


@dataclass(frozen=True)
class Samples:
    """Samples and what a model answers.

    Args:
        signature: of the model.
        inputs: (n, …) by name, of which indices are read.
        target: (n,), class indices or values.
        answers: probabilities (n, classes), or values (n,).
    """

    signature: dict[str, Any]
    inputs: Mapping[str, Any]
    target: np.ndarray
    answers: np.ndarray

    @classmethod
    def of(
        cls,
        data: Mapping[str, Any],
        inputs: Mapping[str, Any],
        target: np.ndarray,
        answers: np.ndarray,
    ) -> "Samples":
        """Return samples of the data that the config's `data` declares."""
        return cls(signature(data), inputs, target, answers)

    @property
    def output(self) -> Spec:
        return self.signature["outputs"][0]


class View:
    """One thing that a run shows of the best model."""

    def show(self, samples: Samples) -> dict[str, Any]:
        """Return what to log, by its name; nothing where it does not apply."""
        raise NotImplementedError


class PredictionsTable(View):
    """A table of validation samples and what the model answers, the least certain first.

    Of values, those with the largest error come first.
    """

    def __init__(self, rows: Annotated[int, Ge(1)]) -> None:
        self.rows = rows

    def show(self, samples: Samples) -> dict[str, Any]:
        answers, target = samples.answers, samples.target
        if samples.output["kind"] == "classes":
            certainty, predicted, last = answers.max(axis=1), answers.argmax(axis=1), "confidence"
        else:
            certainty, predicted, last = -np.abs(answers - target), answers, "error"
        order = certainty.argsort(kind="stable")[: self.rows]
        columns_of_inputs: dict[str, list[Any]] = {}
        for spec in samples.signature["inputs"]:
            columns_of_inputs |= _cells(spec, samples.inputs[spec["name"]][order])
        answered = {
            "actual": decode_target(samples.output, target[order]),
            "predicted": decode_target(samples.output, predicted[order]),
            last: np.abs(certainty[order]).tolist(),
        }
        columns = distinct(columns_of_inputs, answered) | answered
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        return {"predictions": wandb.Table(columns=list(columns), data=rows)}


def _cells(spec: Spec, array: np.ndarray) -> dict[str, list[Any]]:
    """Return the columns of a table that show an input: pictures, texts, or a column for each."""
    name = spec["name"]
    match spec:
        case {"kind": "image", "shape": [_, _, _]} | {"kind": "image", "shape": [_, _, _, 1 | 3]}:
            pixels = (255.0 * array / spec["max_value"]).astype(np.uint8)
            return {name: [wandb.Image(one) for one in pixels]}
        case {"kind": "features"}:
            return decode_columns(spec, array)
        case {"kind": "text"}:
            return {name: decode(spec, array)}
    return {name: [str(value) for value in decode(spec, array)]}


class ConfusionMatrix(View):
    """The confusion matrix of the validation split; of values, a plot of predicted by actual."""

    def show(self, samples: Samples) -> dict[str, Any]:
        if samples.output["kind"] != "classes":
            return {"predicted_by_actual": _scatter(samples)}
        plot = wandb.plot.confusion_matrix(
            y_true=samples.target.tolist(),
            preds=samples.answers.argmax(axis=1).tolist(),
            class_names=samples.output["names"],
        )
        return {"confusion_matrix": plot}


def _scatter(samples: Samples) -> Any:
    """Draw predicted values by actual ones, of at most MAX_POINTS samples."""
    step = -(-len(samples.target) // MAX_POINTS)
    pairs = np.stack([samples.target, samples.answers], axis=1)[::step].tolist()
    label, unit = samples.output["label"], samples.output.get("unit")
    return wandb.plot.scatter(
        wandb.Table(columns=["actual", "predicted"], data=pairs),
        x="actual",
        y="predicted",
        title=f"{label} ({unit}): predicted by actual" if unit else f"{label}: predicted by actual",
    )
