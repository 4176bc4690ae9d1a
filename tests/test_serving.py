"""`inv serve` of a generated project: real services, asked while things change."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from driving import Project, environment, interpreter
from engine import answer, free_port, until

pytestmark = pytest.mark.slow

IMAGE = [[0, 0, 5, 13, 9, 1, 0, 0], *[[0, 0, 8, 8, 8, 8, 0, 0]] * 7]


@dataclass
class Serving:
    """A project that is served; `url` is that of its web application."""

    project: Project
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def metadata(self, model: str = "model") -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/v2/models/{model}") as got:
            return json.load(got)

    def infer(self, image: list[list[int]], model: str = "model") -> tuple[str, list[float]]:
        """The version that answers, and the probabilities."""
        tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8], "data": image}
        url = f"{self.url}/v2/models/{model}/infer"
        request = urllib.request.Request(url, json.dumps({"inputs": [tensor]}).encode())
        with urllib.request.urlopen(request) as got:
            return got.headers["x-model-version"], json.load(got)["outputs"][0]["data"]

    def services(self) -> list[psutil.Process]:
        """The processes of the model services that answer requests."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if "serving.service" in " ".join(child.cmdline())]


@contextlib.contextmanager
def serving(project: Project, *options: str) -> Iterator[Serving]:
    """Run `inv serve` until Ctrl-C."""
    port = free_port()
    log = project.path.with_name("serve.log")
    with log.open("w") as file:
        process = subprocess.Popen(
            [
                str(interpreter(project.python).with_name("inv")),
                "serve",
                f"--port={port}",
                *options,
            ],
            cwd=project.path,
            env=environment(project.python),
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    running = Serving(project, f"http://127.0.0.1:{port}", process, log)
    try:
        until(lambda: answer(f"{running.url}/v2/health/ready") == 200)
        yield running
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) == 0, log.read_text("utf-8")
        assert psutil.wait_procs(children, timeout=10)[1] == []  # Ctrl-C has ended them all


@pytest.fixture(scope="module")
def served(trained_once: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(trained_once.copy(tmp_path_factory.mktemp("served"))) as running:
        yield running


def test_the_samples_in_the_model_are_answered_rightly(served: Serving) -> None:
    samples = served.metadata()["parameters"]["samples"]
    assert [sample["label"] for sample in samples[:10]] == list("0123456789")
    classes = served.metadata()["parameters"]["classes"]
    right = 0
    for sample in samples:
        version, probabilities = served.infer(sample["image"])
        assert version == served.metadata()["versions"][0]
        right += classes[probabilities.index(max(probabilities))] == sample["label"]
    assert right >= 19 <= len(samples)


def test_lineage_is_that_of_the_run(served: Serving) -> None:
    made_from = served.metadata()["parameters"]["provenance"]
    commit = served.project.run("git", "rev-parse", "HEAD").strip()
    assert made_from["git"]["commit"] == commit
    assert made_from["run"]["id"] == served.project.runs()[0]["run_id"]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A body of which some bytes are others, gone, or there twice."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place, length = chance.randrange(len(changed)), chance.randint(1, 20)
        piece = [bytes([chance.randrange(256)]), b"", changed[place : place + length] * 2]
        changed[place : place + length] = chance.choice(piece)
        changed = changed or bytearray(b"x")
    return bytes(changed)


def test_ten_thousand_broken_bodies_cost_no_memory_and_no_error(served: Serving) -> None:
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8], "data": IMAGE}
    body = json.dumps({"inputs": [tensor]}).encode()
    chance = random.Random(0)
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=30)

    def send(number: int) -> set[int]:
        statuses = set()
        for _ in range(number):
            connection.request("POST", "/v2/models/model/infer", mutated(body, chance))
            response = connection.getresponse()
            response.read()
            statuses.add(response.status)
        return statuses

    def memory() -> int:
        return sum(process.memory_info().rss for process in served.services())

    seen = send(2000)
    before = memory()
    seen |= send(8000)
    assert memory() < before * 1.05
    assert seen == {200, 400}
    assert served.infer(IMAGE)[1]


def test_a_new_export_is_served_and_a_broken_one_is_not(
    trained_once: Project, tmp_path: Path
) -> None:
    project = trained_once.copy(tmp_path)
    with serving(project) as running:
        first, _ = running.infer(IMAGE)
        project.inv("train", "--", "trainer.max_epochs=2")
        until(lambda: with_patience(running) not in (None, first))
        second, _ = running.infer(IMAGE)
        model = project.path / "models/model.onnx"
        model.write_bytes(model.read_bytes()[:1000])
        until(
            lambda: "the old version stays: models/model.onnx: " in running.log.read_text("utf-8")
        )
        assert running.infer(IMAGE)[0] == second


def with_patience(running: Serving) -> str | None:
    """The version that answers, or None while the service starts anew."""
    try:
        return running.infer(IMAGE)[0]
    except OSError:
        return None


def test_two_models_side_by_side(trained_once: Project, tmp_path: Path) -> None:
    project = trained_once.copy(tmp_path)
    other = tmp_path / "mlp.onnx"
    first = project.path / "models/model.onnx"
    shutil.copy(first, other)
    project.inv("train", "--", "model=mlp", "trainer.max_epochs=2")
    with serving(project, f"--models=cnn={other},mlp=models/model.onnx") as running:
        versions = {running.infer(IMAGE, model)[0] for model in ("cnn", "mlp")}
        assert len(versions) == 2
        with urllib.request.urlopen(f"{running.url}/v2/models") as got:
            listed = json.load(got)
        assert str(listed).count("cnn") == 1


def test_what_is_wrong_is_one_line(trained_once: Project, tmp_path: Path) -> None:
    project = trained_once.copy(tmp_path)
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        printed = project.inv("serve", f"--port={port}", code=1)
    assert printed.splitlines()[1:] == [f"serve: port {port} is taken: choose another with --port"]
    printed = project.inv("serve", "--models=model", code=1)
    assert "serve: 'model': write NAME=FILE" in printed
    (project.path / "models/model.onnx").unlink()
    printed = project.inv("serve", code=1)
    assert "serve: models/model.onnx: No such file or directory: train one" in printed
