"""`inv serve` of a generated project: real services, asked while things change."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from driving import UV, Project
from engine import answer, free_port, until
from served import IMAGE, Serving, mutated, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(trained.copy(tmp_path_factory.mktemp("served"))) as running:
        yield running


@pytest.mark.parametrize("bodies", [2000, pytest.param(8000, marks=pytest.mark.weekly)])
def test_broken_bodies_cost_no_memory_and_no_error(served: Serving, bodies: int) -> None:
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
    seen |= send(bodies)
    assert memory() < before * 1.05
    assert seen == {200, 400}
    assert served.infer(IMAGE)[1]


def test_a_new_export_is_served_and_a_broken_one_is_not(
    trained_sklearn: Project, tmp_path: Path
) -> None:
    project = trained_sklearn.copy(tmp_path)
    with serving(project) as running:
        first, _ = running.infer(IMAGE)
        project.inv("train", "--", "model.estimator.C=0.5")
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


def test_two_models_side_by_side(
    trained: Project, trained_sklearn: Project, tmp_path: Path
) -> None:
    project = trained.copy(tmp_path)
    other = trained_sklearn.path / "models/model.onnx"
    with serving(project, f"--models=cnn=models/model.onnx,regression={other}") as running:
        versions = {running.infer(IMAGE, model)[0] for model in ("cnn", "regression")}
        assert len(versions) == 2
        with urllib.request.urlopen(f"{running.url}/v2/models") as got:
            listed = json.load(got)
        assert str(listed).count("cnn") == 1


def test_a_killed_server_leaves_nothing_and_its_port_is_free(
    trained: Project, tmp_path: Path
) -> None:
    port = str(free_port())
    for killed in ("uv", "inv", "serving.local"):
        command = [UV, "run", "--no-sync", "inv", "serve", f"--port={port}"]
        with (tmp_path / "printed").open("w") as printed:
            process = subprocess.Popen(
                command,
                cwd=trained.path,
                env=trained.env,
                stdout=printed,
                stderr=printed,
            )
        try:
            until(lambda: answer(f"http://127.0.0.1:{port}/v2/health/ready") == 200)
            started = psutil.Process(process.pid).children(recursive=True)
            inv, local, *services = started
            assert len(services) == 2
            {"uv": process, "inv": inv, "serving.local": local}[killed].kill()
            process.wait(timeout=30)
            assert psutil.wait_procs(started, timeout=30)[1] == [], f"{killed} was killed"
        finally:
            process.kill()


def test_what_is_wrong_is_one_line(trained: Project, tmp_path: Path) -> None:
    project = trained.copy(tmp_path)
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
