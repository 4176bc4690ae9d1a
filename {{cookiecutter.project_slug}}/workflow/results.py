"""The metrics of a training and of an evaluation, by name: how they are read and shown."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .deciding_metric import DecidingMetric

# Frameworks whose trainings keep the model of the last epoch, not that of the best.
KEEP_LAST = {"scikit-learn"}

History = dict[str, list[float]]  # the values of each epoch, by metric


def read_metrics(path: Path) -> dict[str, float]:
    """Return the numbers in a file of metrics; whatever else is in it is left out."""
    return numbers(json.loads(path.read_text(encoding="utf-8")))


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def read_history(path: Path) -> History:
    """Return the values of each epoch by metric; NaN where an epoch has none."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
        names = [name for name in reader.fieldnames or [] if name != "epoch"]
    return {name: [float(row[name] or "nan") for row in rows] for name in names}


def best_epoch(history: History, metric: DecidingMetric | None) -> int | None:
    """Return the number, from 1, of the epoch whose checkpoint became the model."""
    values = history.get(metric.in_training, []) if metric else []
    best = metric.best(values) if metric else None
    return None if best is None else values.index(best) + 1


def metric_text(value: float | None) -> str:
    """Return a number as tables show it: four digits, or in powers of ten where that says more."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.2e}"
