"""The metrics of a model service, for Prometheus."""

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from .model import Model
from .observe import Metrics

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ServiceMetrics(Metrics):
    """What a model service counts beside what the web application counts too."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        registry: CollectorRegistry = self.registry
        Gauge("model_info", "1 for the model", ["model", "version"], registry=registry).labels(
            model.name, model.version
        ).set(1)
        self.batches = Histogram(
            "inference_batch_size",
            "Requests that were computed at once",
            ["model"],
            buckets=SIZES,
            registry=registry,
        ).labels(model.name)
        # Once: what scales by it finds it from the first moment, and no request looks it up.
        self.of_model: Gauge = self.in_flight.labels(model.name)
        kind = model.output.get("kind")
        names = model.output["names"] if kind == "classes" else []
        self._classes: list[Counter] = [self.classes.labels(model.name, name) for name in names]
        self._values: Histogram | None = None
        if kind == "value":
            self._values = Histogram(
                "inference_values",
                "Samples by the value that the model gave them",
                ["model"],
                buckets=model.output.get("quantiles", [0.0]),  # of what it was trained on
                registry=registry,
            ).labels(model.name)

    def note_batch(self, requests: int, answers: np.ndarray) -> None:
        """Count a batch.

        Args:
            answers: (n, classes), of which the largest is the class that is given; or values (n,).
        """
        self.batches.observe(requests)
        if self._values:
            for value in answers.tolist():
                self._values.observe(value)
        if not self._classes:
            return
        counts = np.bincount(answers.argmax(axis=1))
        for index in np.flatnonzero(counts):
            self._classes[index].inc(float(counts[index]))
