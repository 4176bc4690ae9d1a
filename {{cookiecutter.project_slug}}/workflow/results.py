"""What a training and an evaluation measured: metrics by name, and the one that decides."""

import csv
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

History = dict[str, list[float]]  # the values of each epoch, by metric


@dataclass(frozen=True)
class DecidingMetric:
    """The metric by which models are compared: `metric` of conf/config.yaml.

    Args:
        name: as in reports/metrics.json; of the validation split it is `val/NAME`.
        mode: "min" or "max".
    """

    name: str
    mode: str

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "DecidingMetric | None":
        """Read it from a composed config; None in one from before it was named there."""
        metric = config.get("metric")
        return cls(metric["name"], metric["mode"]) if metric else None

    @property
    def in_training(self) -> str:
        """Its name in the history and in callbacks: that of the validation split."""
        return f"val/{self.name}"

    def best(self, values: Iterable[float]) -> float | None:
        """Return the best of the finite values, or None where there is none."""
        finite = filter(math.isfinite, values)
        return (min if self.mode == "min" else max)(finite, default=None)


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
