"""The metric that decides which epoch and which model is the best: `metric` of conf/config.yaml."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class DecidingMetric:
    """The metric by which models are compared.

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
