"""The log of served inputs: what real services write, and that nothing there stops them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arro3.io import read_parquet
from workflow.paths import PREPARED_DATA, ROOT
from workflow.serving import input_log as log
from workflow.serving import model
from workflow.serving.local import free_port

PACKAGE = log.__name__.rpartition(".")[0]


@pytest.fixture
def images(exported: Path) -> np.ndarray:
    return np.load(exported / PREPARED_DATA / "test_images.npy")


@pytest.fixture
def loaded(exported: Path) -> model.Model:
    return model.load("digits", exported / "model.onnx")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the log of the model is kept. It is not there yet."""
    monkeypatch.setenv("SERVING_LOG_FOLDER", str(tmp_path / "served"))
    return log.folder("digits")


class Service:
    """A service of the exported model that keeps its log in `folder`."""

    def __init__(self, exported: Path, **variables: str) -> None:
        self.port = free_port()
        self.printed = exported / f"service-{self.port}.log"
        given = {"MODEL_FILE": str(exported / "model.onnx"), "MODEL_NAME": "digits"}
        command = [sys.executable, "-m", f"{PACKAGE}.service", "--address=127.0.0.1"]
        with self.printed.open("w") as file:
            self.process = subprocess.Popen(
                [*command, f"--port={self.port}"],
                cwd=ROOT,
                env={**os.environ, **given, **variables},
                stdout=file,
                stderr=file,
            )
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v2/health/ready").close()
                return
            except OSError:
                assert self.process.poll() is None, self.printed.read_text()
                assert time.monotonic() < end, self.printed.read_text()
                time.sleep(0.1)

    def ask(self, images: np.ndarray, **more: Any) -> list[list[float]]:
        """Send images in one request; return the probabilities of each."""
        tensor = {"name": "images", "datatype": "UINT8", "shape": images.shape}
        body = {"inputs": [{**tensor, "data": images.ravel().tolist()}], **more}
        url = f"http://127.0.0.1:{self.port}/v2/models/digits/infer"
        with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=30) as answer:
            (output,) = json.load(answer)["outputs"]
        return np.reshape(output["data"], output["shape"]).tolist()

    def end(self) -> None:
        """End it as a container's engine does."""
        self.process.terminate()
        assert self.process.wait(timeout=30) == 0, self.printed.read_text()


@pytest.fixture
def start(exported: Path, folder: Path) -> Iterator[Callable[..., Service]]:
    """Starts services; those that still run are ended."""
    started: list[Service] = []

    def start(every: int, **variables: str) -> Service:
        started.append(Service(exported, SERVING_LOG_EVERY=str(every), **variables))
        return started[-1]

    yield start
    for service in started:
        if service.process.poll() is None:
            service.end()


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of all files of a log, in the order of their time."""
    assert {file.suffix for file in folder.iterdir()} == {".parquet"}
    logged = []
    for file in folder.iterdir():
        table = read_parquet(file).read_all()
        columns = [table[name].to_pylist() for name in table.column_names]
        rows = zip(*columns, strict=True)
        logged += [dict(zip(table.column_names, row, strict=True)) for row in rows]
    return sorted(logged, key=lambda row: row["time"])


def entry(images: np.ndarray, loaded: model.Model, time: int = 0) -> log.Entry:
    """A request that was answered."""
    return log.Entry(time, None, {"images": images}, loaded.predict({"images": images}))


def test_the_log_holds_what_was_sent_and_answered_after_sigterm(
    start: Callable[..., Service], folder: Path, images: np.ndarray, loaded: model.Model
) -> None:
    before = datetime.now(UTC)
    service = start(every=1)
    answers = service.ask(images[:1], id="mine")
    for image in images[1:20]:
        answers += service.ask(image[None])
    answers += service.ask(images[20:])
    assert not folder.exists()  # what follows was waiting to be written
    service.end()
    logged = rows(folder)
    np.testing.assert_array_equal(
        [row["input/images"] for row in logged], images.reshape(len(images), -1)
    )
    assert [row["predicted"] for row in logged] == [str(np.argmax(answer)) for answer in answers]
    most = [max(answer) for answer in answers]
    np.testing.assert_allclose([row["confidence"] for row in logged], most, rtol=1e-6)
    assert logged[0]["request_id"] == "mine"
    made_up = {row["request_id"] for row in logged[1:]}
    assert len(made_up) == 20  # one for each request
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in made_up)
    assert {(row["model"], row["version"]) for row in logged} == {("digits", loaded.version)}
    assert all(before <= row["time"] <= datetime.now(UTC) for row in logged)


def test_an_input_tells_its_shape(folder: Path, images: np.ndarray, loaded: model.Model) -> None:
    log.Files(loaded, 10**6).write([entry(images, loaded)])
    (file,) = folder.iterdir()
    field = read_parquet(file).schema.field("input/images")
    assert field.metadata_str["ARROW:extension:name"] == "arrow.fixed_shape_tensor"
    assert json.loads(field.metadata_str["ARROW:extension:metadata"]) == {"shape": [8, 8]}
    assert str(field.type).count("UInt8") == 1


def test_one_of_so_many_requests_is_kept(
    start: Callable[..., Service], folder: Path, images: np.ndarray
) -> None:
    service = start(every=2)
    for image in images[:40]:
        service.ask(image[None])
    service.end()
    assert len(rows(folder)) == 20


def test_nothing_is_kept_unless_it_is_asked_for(
    start: Callable[..., Service], folder: Path, images: np.ndarray
) -> None:
    service = start(every=0)
    service.ask(images)
    service.end()
    assert not folder.exists()


def test_requests_are_answered_where_nothing_can_be_written(
    start: Callable[..., Service],
    folder: Path,
    images: np.ndarray,
    loaded: model.Model,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder.parent.write_text("a file where a folder should be")
    service = start(every=1)
    np.testing.assert_allclose(service.ask(images), loaded.predict({"images": images}), atol=1e-6)
    service.end()
    assert service.printed.read_text().startswith("serve: the log is not written: ")
    assert service.printed.read_text().count("\n") == 1
    files = log.Files(loaded, 10**6)
    for _ in range(3):
        files.write([entry(images, loaded)])
    assert capfd.readouterr().err.count("\n") == 1  # one line, however long it lasts
    folder.parent.unlink()
    files.write([entry(images, loaded)])
    assert len(rows(folder)) == len(images)


def test_few_rows_are_written_too_in_time(
    folder: Path, images: np.ndarray, loaded: model.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "SECONDS", 0.1)
    started = log.Log(loaded, every=1, max_bytes=10**6)
    for number in range(2):
        started.add(None, {"images": images[:1]}, entry(images[:1], loaded).answers)
        end = time.monotonic() + 60
        while len(list(folder.glob("*.parquet"))) == number:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert len(rows(folder)) == 2
    started._end()


def test_a_full_disk_leaves_no_part_of_a_file(
    folder: Path, images: np.ndarray, loaded: model.Model
) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no limit for a file's size")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        log.Files(loaded, 10**6).write([entry(images, loaded)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(folder.iterdir()) == []


def test_the_oldest_files_go(folder: Path, images: np.ndarray, loaded: model.Model) -> None:
    log.Files(loaded, 10**6).write([entry(images, loaded, time=0)])
    size = next(folder.iterdir()).stat().st_size
    files = log.Files(loaded, max_bytes=round(3.5 * size))
    for number in range(1, 8):
        files.write([entry(images, loaded, time=number)])
    times = {row["time"] for row in rows(folder)}
    assert times == {datetime.fromtimestamp(0, UTC) + timedelta(microseconds=n) for n in (5, 6, 7)}


def test_what_waits_is_bounded(
    folder: Path, images: np.ndarray, loaded: model.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "WAITING_BYTES", 10 * entry(images, loaded).size)
    started = log.Log(loaded, every=1, max_bytes=10**6)
    for _ in range(100):
        started.add(None, {"images": images}, entry(images, loaded).answers)
    started._end()
    assert len(rows(folder)) == 11 * len(images)
