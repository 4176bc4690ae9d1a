"""What a real model service tells Prometheus, with several processes, some of which end."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from {{ cookiecutter.package_name }}.paths import PREPARED_DATA, ROOT
from {{ cookiecutter.package_name }}.serving import metrics, model
from {{ cookiecutter.package_name }}.serving.local import free_port

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="mosec is not made for Windows")

PACKAGE = metrics.__name__.rpartition(".")[0]
Numbers = dict[tuple[str, ...], float]


class Service:
    """A service of the exported model; `log` is what it printed."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.port, self.page = free_port(), free_port()
        self.log = folder / f"service-{self.port}.log"
        given = {"MODEL_FILE": str(folder / "model.onnx"), "MODEL_NAME": "digits"}
        self.temporary = tempfile.TemporaryDirectory()  # short: sockets are in there
        given |= {"METRICS_PORT": str(self.page), "TMPDIR": self.temporary.name}
        command = [sys.executable, "-m", f"{PACKAGE}.service", "--address=127.0.0.1"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, f"--port={self.port}"],
                cwd=ROOT,
                env={**os.environ, **given, **variables},
                stdout=log,
                stderr=log,
            )

    def ask(self, images: np.ndarray) -> int:
        """Send images in one request; return the status, 0 where there is no answer."""
        tensor = {"name": "images", "datatype": "UINT8", "shape": images.shape}
        body = json.dumps({"inputs": [{**tensor, "data": images.ravel().tolist()}]})
        url = f"http://127.0.0.1:{self.port}/v2/models/digits/infer"
        try:
            return urllib.request.urlopen(url, body.encode(), timeout=30).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def wait(self, image: np.ndarray) -> None:
        """Wait until it answers."""
        end = time.monotonic() + 60
        while self.ask(image) != 200:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)

    def numbers(self) -> Numbers:
        """The values of its metrics by their name and the values of their labels, sorted."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.page}/metrics") as answer:
            text = answer.read().decode()
        return {
            (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def workers(self) -> set[int]:
        """The processes that have answered, those that have ended too: each has a file."""
        files = Path(self.temporary.name).glob("metrics-*/counter_*.db")
        return {int(file.stem.partition("_")[2]) for file in files}


@pytest.fixture
def start(exported: Path) -> Iterator[Callable[..., Service]]:
    """Starts services, which end with the test."""
    started: list[Service] = []

    def start(**variables: str) -> Service:
        started.append(Service(exported, **variables))
        return started[-1]

    yield start
    for service in started:
        if service.process.poll() is None:
            service.process.terminate()
            assert service.process.wait(timeout=30) == 0, service.log.read_text()
        assert not list(Path(service.temporary.name).glob("metrics-*"))
        service.temporary.cleanup()


@pytest.fixture
def images(exported: Path) -> np.ndarray:
    return np.load(exported / PREPARED_DATA / "test_images.npy")


@pytest.fixture
def classes(exported: Path, images: np.ndarray) -> np.ndarray:
    """How many of the images are of each class, as the model has it."""
    answers = model.load("digits", exported / "model.onnx").predict(images)
    return np.bincount(answers.argmax(axis=1), minlength=10)


def counted(numbers: Numbers) -> np.ndarray:
    """The class counts of a page."""
    return np.array([numbers["inference_classes_total", str(i), "digits"] for i in range(10)])


@pytest.mark.parametrize("processes", ["1", "2"])
def test_one_page_has_requests_latency_queue_batches_and_classes(
    processes: str, start: Callable[..., Service], images: np.ndarray, classes: np.ndarray
) -> None:
    service = start(SERVING_PROCESSES=processes)
    service.wait(images[:1])
    before = counted(service.numbers())
    for image in images:
        assert service.ask(image[None]) == 200
    assert service.ask(images) == 200
    assert service.ask(images[:, :4]) == 400
    numbers = service.numbers()
    np.testing.assert_array_equal(counted(numbers) - before, 2 * classes)
    version = model.load("digits", Path(service.log.parent / "model.onnx")).version
    assert numbers["model_info", "digits", version] == 1
    route = "/v2/models/digits/infer"
    requests = before.sum() + len(images) + 1
    assert numbers["mosec_service_throughput_total", "200", route] == requests
    assert numbers["mosec_service_throughput_total", "400", route] == 1
    assert numbers["mosec_service_process_duration_second_count", "total", "total"] == requests
    assert numbers["mosec_service_process_duration_second_bucket", "total", "+Inf", "total"]
    assert numbers["mosec_service_remaining_task",] == 0
    sizes = [v for key, v in numbers.items() if key[0] == "mosec_service_batch_size_sum"]
    assert sum(sizes) == requests + 1


def test_what_a_killed_process_counted_stays_and_is_counted_once(
    start: Callable[..., Service], images: np.ndarray, classes: np.ndarray
) -> None:
    service = start(SERVING_PROCESSES="2")
    service.wait(images[:1])
    before = counted(service.numbers())
    first = service.workers()
    assert len(first) == 2
    for image in images:
        assert service.ask(image[None]) == 200
    os.kill(min(first), signal.SIGKILL)
    end = time.monotonic() + 60
    while len(service.workers()) < 3:
        assert time.monotonic() < end, service.log.read_text()
        time.sleep(0.1)
    np.testing.assert_array_equal(counted(service.numbers()) - before, classes)
    while service.ask(images) != 200:  # one that the killed process had
        assert time.monotonic() < end, service.log.read_text()
    grown = counted(service.numbers()) - before
    np.testing.assert_array_equal(grown, 2 * classes)


def test_a_wrong_port_ends_the_service_with_one_line(start: Callable[..., Service]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for wrong, reason in [("many", "'many' is no port"), (port, f"{port}: Address already")]:
            service = start(METRICS_PORT=wrong)
            assert service.process.wait(timeout=30) == 1
            assert service.log.read_text().startswith(f"serve: METRICS_PORT: {reason}")
            assert service.log.read_text().count("\n") == 1
