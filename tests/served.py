"""`inv serve` of a project, and what is asked of it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from driving import Project, interpreter
from engine import answer, free_port, until

IMAGE = [[0, 0, 5, 13, 9, 1, 0, 0], *[[0, 0, 8, 8, 8, 8, 0, 0]] * 7]

ASK = """
import json, sys, urllib.error, urllib.request
import numpy, onnxruntime
url = sys.argv[1] + "/v2/models/model/infer"
images = numpy.load("data/prepared/test_images.npy")[:5]
def ask(body):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode())) as got:
            return got.status, json.load(got)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
tensor = {"name": "images", "datatype": "UINT8", "shape": images.shape, "data": images.tolist()}
status, answer = ask({"inputs": [tensor]})
assert status == 200, answer
session = onnxruntime.InferenceSession("models/model.onnx")
expected = session.run(None, {"images": images})[0]
got = numpy.array(answer["outputs"][0]["data"]).reshape(answer["outputs"][0]["shape"])
assert numpy.allclose(got, expected, atol=1e-6)
print(ask({"inputs": [{**tensor, "datatype": "FP32"}]}))
"""
SEND = """
import json, sys, urllib.request
import numpy as np

url, how = sys.argv[1:]
images = np.load("data/prepared/test_images.npy")
noise = np.random.default_rng(0).integers(-8, 9, images.shape)
images = {"same": images, "inverted": 16 - images, "noisy": (images + noise).clip(0, 16)}[how]
for image in images.tolist():
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8], "data": image}
    urllib.request.urlopen(url, json.dumps({"inputs": [tensor]}).encode()).close()
"""


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

    def send_test_images(self, how: str) -> None:
        """Ask for each image of the test split: the same, inverted or noisy."""
        self.project.run("python", "-c", SEND, f"{self.url}/v2/models/model/infer", how)

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
                str(interpreter(project.python, project.framework).with_name("inv")),
                "serve",
                f"--port={port}",
                *options,
            ],
            cwd=project.path,
            env=project.env,
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


def answers_as_the_model(project: Project, url: str) -> None:
    """Assert that a service answers as the project's model does, and refuses another datatype."""
    refused = project.run("python", "-c", ASK, url)
    assert "(400, " in refused
    assert "UINT8" in refused


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A body of which some bytes are others, gone, or there twice."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place, length = chance.randrange(len(changed)), chance.randint(1, 20)
        piece = [bytes([chance.randrange(256)]), b"", changed[place : place + length] * 2]
        changed[place : place + length] = chance.choice(piece)
        changed = changed or bytearray(b"x")
    return bytes(changed)
