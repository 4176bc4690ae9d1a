"""The sections of the report that an evaluation may show, each a dictionary that JSON can hold.

`evaluate` chooses from these and writes reports/sections.json; the report draws each by its
`kind` (sections.html.jinja), and one of another kind as a plain table.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

Section = dict[str, Any]


def confusion_matrix(target: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> Section:
    """Count samples by actual class (rows) and predicted class (columns).

    Args:
        target, predicted: (n,), indices into `classes`.
    """
    counts = _count(target, predicted, len(classes))
    return {"kind": "confusion_matrix", "classes": list(classes), "counts": counts.tolist()}


def class_metrics(target: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> Section:
    """Return precision, recall and F1 of each class; 0 where there is nothing to divide by.

    Args:
        target, predicted: (n,), indices into `classes`.
    """
    counts = _count(target, predicted, len(classes))
    right = np.diag(counts)
    actual, answered = counts.sum(axis=1), counts.sum(axis=0)
    columns = {
        "precision": right / np.maximum(answered, 1),
        "recall": right / np.maximum(actual, 1),
        "F1": 2 * right / np.maximum(actual + answered, 1),
        "samples": actual,
    }
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return {
        "kind": "class_metrics",
        "columns": list(columns),
        "rows": [[name, *row] for name, row in zip(classes, rows, strict=True)],
    }


def calibration(target: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> Section:
    """Compare the confidence of answers with how often they are right.

    `error` is the expected calibration error over bins of equal width (Naeini et al., 2015).

    Args:
        target: (n,), class indices.
        probabilities: (n, classes).
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    is_right = probabilities.argmax(axis=1) == target
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    filled = [bin_of == index for index in range(bins) if (bin_of == index).any()]
    rows = [
        {
            "confidence": float(confidence[members].mean()),
            "accuracy": float(is_right[members].mean()),
            "samples": int(members.sum()),
        }
        for members in filled
    ]
    error = sum(abs(row["accuracy"] - row["confidence"]) * row["samples"] for row in rows)
    counts, edges = np.histogram(confidence, bins=bins, range=(0, 1))
    return {
        "kind": "calibration",
        "error": error / max(len(target), 1),
        "bins": rows,
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }


def residuals(
    target: np.ndarray,
    predicted: np.ndarray,
    label: str,
    unit: str | None = None,
    limit: int = 500,
) -> Section:
    """Compare predicted with actual values: at most `limit` samples, and a histogram of all.

    Args:
        target, predicted: (n,), in `unit`.
        label: what the values are.
    """
    difference = predicted.astype(np.float64) - target
    counts, edges = np.histogram(difference, bins=min(max(len(target) // 5, 5), 25))
    rows = np.unique(np.linspace(0, len(target) - 1, min(limit, len(target))).astype(int))
    return {
        "kind": "residuals",
        "label": label,
        "unit": unit,
        "samples": len(target),
        "mean": float(difference.mean()),
        "std": float(difference.std()),
        "actual": target[rows].tolist(),
        "predicted": predicted[rows].tolist(),
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }


def _count(target: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (target, predicted), 1)
    return counts
