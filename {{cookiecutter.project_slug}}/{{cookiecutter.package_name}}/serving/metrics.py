"""The numbers of a model service for Prometheus: those of mosec, and those of its workers.

mosec counts requests, their duration, the sizes of batches and what waits, and cannot be given more
to count. Each worker process counts in a file of its own (prometheus_client's multiprocess mode),
so that what a worker counted outlives it; one page has all.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import ProxyHandler, build_opener

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from .model import Model
from .settings import SettingsError

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client when it is imported
TIMEOUT = 2.0  # seconds


class Counts:
    """What one worker process counts."""

    def __init__(self, model: Model) -> None:
        registry = CollectorRegistry()  # of this process: the page reads the files
        info = Gauge(
            "model_info",
            "1 for each version of the model that was served since the service started",
            ["model", "version"],
            registry=registry,
            multiprocess_mode="max",
        )
        info.labels(model.name, model.version).set(1)
        classes = Counter(
            "inference_classes",
            "Images by the class that the model gave them",
            ["model", "class"],
            registry=registry,
        )
        names = model.signature["classes"]
        self._classes = [classes.labels(model.name, name) for name in names]

    def add(self, answers: np.ndarray) -> None:
        """Count a batch.

        Args:
            answers: (batch, classes), of which the largest is the class that is given.
        """
        counts = np.bincount(answers.argmax(axis=1))
        for index in np.flatnonzero(counts):
            self._classes[index].inc(float(counts[index]))


class Mosec(Collector):
    """What mosec itself counts; nothing while it does not listen yet."""

    def __init__(self, address: str, port: int) -> None:
        host = "127.0.0.1" if address == "0.0.0.0" else address
        self._url = f"http://{host}:{port}/metrics"
        self._opener = build_opener(ProxyHandler({}))  # a proxy is for other hosts

    def collect(self) -> Iterator[Metric]:
        try:
            with self._opener.open(self._url, timeout=TIMEOUT) as answer:
                text = answer.read().decode()
        except OSError:
            return
        yield from text_string_to_metric_families(text)


@contextmanager
def page(address: str, port: int) -> Iterator[None]:
    """Serve the page, at the port that METRICS_PORT names, of the mosec that is started within.

    Without METRICS_PORT there is none.

    Args:
        address: that of both.
        port: where mosec listens.

    Raises:
        SettingsError: METRICS_PORT is no port, or nothing can listen there.
    """
    wanted = os.environ.get("METRICS_PORT") or "0"
    if not wanted.isdecimal() or int(wanted) > 65535 or int(wanted) == port:
        raise SettingsError(f"METRICS_PORT: {wanted!r} is no port, or that of the service itself")
    if not int(wanted):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="metrics-") as folder:
        os.environ[FOLDER] = folder  # for the workers, which mosec starts as new interpreters
        registry = CollectorRegistry()
        registry.register(Mosec(address, port))
        MultiProcessCollector(registry, folder)
        try:
            server, _ = start_http_server(int(wanted), address, registry)
        except OSError as error:
            raise SettingsError(f"METRICS_PORT: {wanted}: {error.strerror}") from None
        yield
        server.shutdown()
