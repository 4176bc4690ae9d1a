"""The model service: its protocol, and a real one that is asked."""

import json
import os
import random
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from workflow.errors import CommandError
from workflow.paths import PREPARED_DATA, ROOT
from workflow.serving import model, protocol, settings
from workflow.serving.protocol import RequestError


@pytest.fixture
def images(exported: Path) -> np.ndarray:
    """Three test images."""
    return np.load(exported / PREPARED_DATA / "test_images.npy")[:3]


@pytest.fixture
def request_of(images: np.ndarray) -> Callable[..., dict[str, Any]]:
    """Makes a request for the images whose one input has the changes given; None leaves out."""

    def make(**changes: Any) -> dict[str, Any]:
        tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape)}
        tensor |= {"data": images.ravel().tolist(), **changes}
        return {"inputs": [{key: value for key, value in tensor.items() if value is not None}]}

    return make


@pytest.fixture(scope="module")
def loaded(exported: Path) -> model.Model:
    return model.load("digits", exported / "model.onnx")


def body(request: Any) -> bytes:
    return json.dumps(request).encode()


def test_a_model_knows_its_version_signature_and_provenance(exported: Path) -> None:
    found = model.load("digits", exported / "model.onnx")
    again = model.load("other", exported / "model.onnx")
    assert found.version == again.version
    metadata = found.metadata()
    assert metadata["inputs"][0]["shape"] == [-1, 8, 8]
    assert metadata["parameters"]["signature"]["outputs"][0]["names"][3] == "3"
    assert metadata["parameters"]["provenance"]["seed"] == 0


def test_a_wrong_model_file_is_one_line(exported: Path, tmp_path: Path) -> None:
    import onnx

    content = (exported / "model.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.onnx").write_bytes(b"")
    plain = onnx.load(exported / "model.onnx")
    del plain.metadata_props[:]
    onnx.save(plain, tmp_path / "plain.onnx")
    newer = onnx.load(exported / "model.onnx")
    newer.opset_import[0].version = 999
    onnx.save(newer, tmp_path / "newer.onnx")
    for name, reason in [
        ("missing.onnx", "No such file"),
        ("cut.onnx", "ONNX|protobuf"),
        ("empty.onnx", "ONNX|protobuf|graph"),
        ("plain.onnx", "its metadata has no 'signature'"),
        ("newer.onnx", "till opset"),
    ]:
        with pytest.raises(CommandError, match=reason) as raised:
            model.load("digits", tmp_path / name)
        assert str(raised.value).startswith(f"{tmp_path / name}: ")
        assert "\n" not in str(raised.value)
    with pytest.raises(CommandError, match=r"its SHA-256 is [0-9a-f]{64}, not abc"):
        model.load("digits", exported / "model.onnx", sha256="abc")


def test_settings_are_those_of_conf_and_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = ROOT / settings.FILE
    written = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert asdict(settings.load(file)) == written
    monkeypatch.setenv("SERVING_MAX_BATCH_SIZE", "7")
    assert settings.load(file).max_batch_size == 7
    monkeypatch.setenv("SERVING_MAX_BATCH_SIZE", "many")
    with pytest.raises(CommandError, match=r"serving\.max_batch_size: 'many'"):
        settings.load(file)
    monkeypatch.delenv("SERVING_MAX_BATCH_SIZE")
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump({**written, "title": 7}))
    with pytest.raises(CommandError, match=r"^serving\.title: 7 is not text"):
        settings.load(tmp_path / "wrong.yaml")
    ranges = {"threads": 0, "log_every": -1, "min_replicas": 11, "scale_down_after_s": 3601}
    for key, value in ranges.items():
        (tmp_path / "wrong.yaml").write_text(yaml.safe_dump({**written, key: value}))
        with pytest.raises(CommandError, match=rf"^serving\.{key}: '?{value}"):
            settings.load(tmp_path / "wrong.yaml")
    (tmp_path / "wrong.yaml").write_text("thread: 1\n")
    with pytest.raises(CommandError, match="thread is no such key"):
        settings.load(tmp_path / "wrong.yaml")


def test_json_and_binary_tensors_are_the_same(
    loaded: model.Model, images: np.ndarray, request_of: Callable[..., Any]
) -> None:
    nested = request_of(data=images.tolist())
    binary = body(request_of(data=None, parameters={"binary_data_size": images.size}))
    for content in (body(request_of()), body(nested), binary + images.tobytes()):
        _, decoded = protocol.decode(content, loaded.signature)
        assert decoded["images"].dtype == np.uint8
        np.testing.assert_array_equal(decoded["images"], images)


def test_an_output_may_be_asked_as_binary(
    loaded: model.Model, request_of: Callable[..., Any]
) -> None:
    output = {"name": "probabilities", "parameters": {"binary_data": True}}
    for more in ({"outputs": [output]}, {"parameters": {"binary_data_output": True}}):
        request, decoded = protocol.decode(body({**request_of(), **more}), loaded.signature)
        expected = loaded.predict(decoded)
        answer, _ = protocol.encode(request, expected, "digits", "1", loaded.signature)
        length = protocol.json_length(answer)
        (answered,) = json.loads(answer[:length])["outputs"]
        assert answered["parameters"]["binary_data_size"] == len(answer) - length
        got = np.frombuffer(answer[length:], "<f4").reshape(answered["shape"])
        np.testing.assert_array_equal(got, expected)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "pictures"}, "there is no input `pictures`, only `images`"),
    ({"datatype": "FP32"}, "`images` is UINT8, not FP32"),
    ({"shape": [3, 64]}, "`images` has shape [-1, 8, 8], not [3, 64]"),
    ({"shape": [0, 8, 8]}, "not [0, 8, 8]"),
    ({"shape": [-1, 8, 8]}, "not [-1, 8, 8]"),
    ({"shape": [2**62, 8, 8]}, "192 values"),
    ({"shape": "3"}, "Expected `array`, got `str`"),
    ({"data": [1, 2]}, "`images` has 2 values, not those of [3, 8, 8]"),
    ({"data": [1.5] * 192}, "values that are not UINT8"),
    ({"data": [True] * 192}, "values that are not UINT8"),
    ({"data": ["1"] * 192}, "values that are not UINT8"),
    ({"data": [None] * 192}, "values that are not UINT8"),
    ({"data": [2**70] * 192}, "values that are not UINT8"),
    ({"data": [-1] * 192}, "images of sample 0 has a value outside 0 to 16"),
    ({"data": [17] * 192}, "images of sample 0 has a value outside 0 to 16"),
    ({"data": [[1], [1, 2]]}, "lists of different lengths"),
    ({"data": {"a": 1}}, "needs its `data`"),
    ({"data": None}, "needs its `data`"),
    ({"parameters": {"binary_data_size": 5}}, "0 bytes follow, not 5"),
    ({"parameters": {"binary_data_size": "5"}}, "0 bytes follow, not 5"),
]


@pytest.mark.parametrize(("changes", "reason"), WRONG, ids=lambda value: str(value)[:30])
def test_a_wrong_request_gets_the_reason(
    changes: dict[str, Any], reason: str, loaded: model.Model, request_of: Callable[..., Any]
) -> None:
    with pytest.raises(RequestError) as raised:
        protocol.decode(body(request_of(**changes)), loaded.signature)
    assert reason in str(raised.value)


def test_a_body_that_is_no_request_gets_the_reason(
    loaded: model.Model, request_of: Callable[..., Any]
) -> None:
    twice = {"inputs": request_of()["inputs"] * 2}
    for content, reason in [
        (b"{", "no request in JSON"),
        (b"\xff\x00", "no request in JSON"),
        (b"{" * 100_000, "no request in JSON"),
        (b"[1]", "Expected `object`"),
        (b'{"inputs": []}', "is needed once, not 0 times"),
        (body(twice), "is needed once, not 2 times"),
        (body(request_of()).replace(b"0,", b"NaN,", 1), "no request in JSON"),
        (body({**request_of(), "outputs": [{"name": "x"}]}), "there is no output `x`"),
        (body(request_of()) + b"more", "4 bytes follow that no input has"),
    ]:
        with pytest.raises(RequestError) as raised:
            protocol.decode(content, loaded.signature)
        assert reason in str(raised.value), content[:50]


INSERTED = [b"null", b"1e999", b"-1", b"[", b"}", b'"', b"9" * 400]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A body with some bytes changed, left out or twice."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(changed))
        change = chance.randrange(4)
        if change == 0:
            changed[place] = chance.randrange(256)
        elif change == 1:
            del changed[place : place + chance.randint(1, 20)]
        elif change == 2:
            changed[place:place] = changed[place : place + chance.randint(1, 20)]
        else:
            changed[place:place] = chance.choice(INSERTED)
    return bytes(changed) or b"x"


def test_no_body_breaks_the_protocol(
    loaded: model.Model, images: np.ndarray, request_of: Callable[..., Any]
) -> None:
    chance = random.Random(0)
    binary = body(request_of(data=None, parameters={"binary_data_size": images.size}))
    answered = refused = 0
    for number in range(4000):
        content = [body(request_of()), binary + images.tobytes()][number % 2]
        try:
            request, decoded = protocol.decode(mutated(content, chance), loaded.signature)
        except RequestError:
            refused += 1
        else:
            answered += 1
            protocol.encode(request, loaded.predict(decoded), "digits", "1", loaded.signature)
    assert answered
    assert refused > 1000


class Service:
    """A model service that runs; `log` is what it printed."""

    def __init__(self, folder: Path, **variables: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        package = model.__name__.partition(".")[0]
        command = [sys.executable, "-m", f"{package}.serving.service"]
        self.log = folder / f"service-{self.port}.log"
        environment = {"MODEL_FILE": str(folder / "model.onnx"), "MODEL_NAME": "digits"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "--address=127.0.0.1", f"--port={self.port}"],
                cwd=ROOT,
                env={**os.environ, **environment, **variables},
                stdout=log,
                stderr=log,
            )

    def wait(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + 60
        while self.ask("/ready")[0] != 200:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)

    def post(self, content: bytes) -> tuple[int, bytes]:
        """Ask the model."""
        return self.ask("/infer", content)

    def ask(self, route: str, content: bytes | None = None) -> tuple[int, bytes]:
        """Return status and body of an answer, 0 where there is none."""
        url = f"http://127.0.0.1:{self.port}/v2/models/digits{route}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, content), timeout=30) as got:
                return got.status, got.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def numbers(self) -> dict[tuple[str, ...], float]:
        """The values of its metrics, by their name and the values of their labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            text = answer.read().decode()
        return {
            (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture(scope="module")
def service(exported: Path) -> Iterator[Service]:
    running = Service(exported)
    running.wait()
    yield running
    running.process.terminate()
    running.process.wait()


def test_the_service_answers_as_the_model_does(
    service: Service, loaded: model.Model, images: np.ndarray, request_of: Callable[..., Any]
) -> None:
    status, content = service.post(body({**request_of(), "id": "mine"}))
    assert status == 200
    answer = json.loads(content)
    assert (answer["model_name"], answer["model_version"]) == ("digits", loaded.version)
    assert answer["id"] == "mine"
    got = np.reshape(answer["outputs"][0]["data"], answer["outputs"][0]["shape"])
    np.testing.assert_allclose(got, loaded.predict({"images": images}), atol=1e-6)
    status, content = service.ask("")
    assert json.loads(content) == loaded.metadata()
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/v2/models") as listed:
        expected = {"name": "digits", "ready": True, "version": loaded.version}
        assert json.load(listed) == [expected]


def test_the_service_refuses_in_the_words_of_the_protocol_and_stays_up(
    service: Service, request_of: Callable[..., Any]
) -> None:
    for changes, reason in WRONG:
        status, content = service.post(body(request_of(**changes)))
        assert status == 400
        assert reason in json.loads(content)["error"]
    chance = random.Random(1)
    statuses = {service.post(mutated(body(request_of()), chance))[0] for _ in range(300)}
    assert statuses <= {200, 400}
    assert service.post(b"x" * 5_000_000)[0] in (413, 0)  # 0: hung up while it was sent
    assert service.post(b"")[0] == 400
    assert service.ask("s")[0] == 404
    assert service.post(body(request_of()))[0] == 200


def test_a_wrong_request_spoils_none_that_is_computed_with_it(
    service: Service, request_of: Callable[..., Any]
) -> None:
    bodies = [body(request_of()), body(request_of(datatype="FP32"))] * 200
    with ThreadPoolExecutor(32) as threads:
        statuses = [status for status, _ in threads.map(service.post, bodies)]
    assert statuses == [200, 400] * 200
    numbers = service.numbers()
    batches = numbers["inference_batch_size_count", "digits"]
    assert batches < numbers["inference_batch_size_sum", "digits"]  # computed together


def test_answers_tell_version_request_and_length(
    service: Service, loaded: model.Model, request_of: Callable[..., Any]
) -> None:
    url = f"http://127.0.0.1:{service.port}/v2/models/digits/infer"
    for given, expected in [("page-7", "page-7"), ("<script>", "[0-9a-f]{32}")]:
        asked = urllib.request.Request(url, body(request_of()), {"x-request-id": given})
        with urllib.request.urlopen(asked) as answer:
            assert answer.headers["x-model-version"] == loaded.version
            assert answer.headers["x-model-run"] == loaded.provenance["run"]["id"]
            assert answer.headers["content-type"] == "application/json"
            assert re.fullmatch(expected, answer.headers["x-request-id"])
    binary = body({**request_of(), "parameters": {"binary_data_output": True}})
    with urllib.request.urlopen(url, binary) as answer:
        content = answer.read()
        length = int(answer.headers["inference-header-content-length"])
    assert json.loads(content[:length])["model_version"] == loaded.version
    assert len(content) - length == 3 * 10 * 4  # images, classes, float32
    refused = urllib.request.Request(url, b"{", {"x-request-id": "refused-1"})
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(refused)
    while "refused-1" not in service.log.read_text():  # it is written behind the answer
        time.sleep(0.01)
    (line,) = [line for line in service.log.read_text().splitlines() if "refused-1" in line]
    assert json.loads(line)["status"] == 400  # what was answered well has no line
    assert "page-7" not in service.log.read_text()


def test_one_page_has_requests_latency_queue_batches_and_classes(
    exported: Path, loaded: model.Model, request_of: Callable[..., Any], images: np.ndarray
) -> None:
    counted = Service(exported)
    counted.wait()
    for _ in range(5):
        assert counted.post(body(request_of()))[0] == 200
    assert counted.post(b"{")[0] == 400
    numbers = counted.numbers()
    assert numbers["inference_requests_total", "digits", "200"] == 5
    assert numbers["inference_requests_total", "digits", "400"] == 1
    assert numbers["inference_seconds_count", "digits"] == 6
    assert numbers["inference_requests_in_flight", "digits"] == 0
    assert numbers["inference_batch_size_sum", "digits"] == 5
    assert numbers["model_info", "digits", loaded.version] == 1
    classes = np.bincount(loaded.predict({"images": images}).argmax(axis=1), minlength=10)
    found = [numbers["inference_classes_total", str(number), "digits"] for number in range(10)]
    np.testing.assert_array_equal(found, 5 * classes)
    counted.process.terminate()
    assert counted.process.wait(timeout=30) == 0


def test_a_full_queue_is_refused_at_once(exported: Path, request_of: Callable[..., Any]) -> None:
    full = Service(exported, SERVING_CAPACITY="1", SERVING_MAX_BATCH_SIZE="1")
    full.wait()
    large = request_of()
    large["inputs"][0]["data"] *= 300
    large["inputs"][0]["shape"][0] *= 300
    content = body(large)
    with ThreadPoolExecutor(32) as threads:
        statuses = {status for status, _ in threads.map(lambda _: full.post(content), range(200))}
    full.process.terminate()
    assert statuses == {200, 429}


def test_a_wrong_setting_or_model_ends_the_service_with_one_line(exported: Path) -> None:
    for variables, reason in [
        ({"SERVING_THREADS": "0"}, "serve: serving.threads: 0 must be a positive number\n"),
        ({"SERVING_PROVIDER": "tpu"}, "serve: serving.provider: 'tpu' is not one of cpu, cuda\n"),
        (
            {"SERVING_PROVIDER": "cuda"},
            "serve: serving.provider: cuda: this build of onnxruntime has no CUDA: take the image "
            "serve-gpu, or provider cpu\n",
        ),
        ({"MODEL_FILE": "/nowhere.onnx"}, "serve: /nowhere.onnx: No such file"),
        ({"MODEL_SHA256": "abc"}, "serve: "),
    ]:
        wrong = Service(exported, **variables)
        assert wrong.process.wait(timeout=30) == 1
        printed = wrong.log.read_text()
        assert printed.startswith(reason)
        assert printed.count("\n") == 1


def test_sigterm_ends_it_when_its_requests_are_answered(
    exported: Path, request_of: Callable[..., Any]
) -> None:
    ending = Service(exported)
    ending.wait()
    content = body(request_of())
    with ThreadPoolExecutor(8) as threads:
        before = [threads.submit(ending.post, content) for _ in range(200)]
        while not before[40].done():
            time.sleep(0.001)
        ending.process.terminate()
        statuses = [future.result()[0] for future in before]
    assert ending.process.wait(timeout=30) == 0
    assert statuses[:40] == [200] * 40
    assert set(statuses) <= {200, 503, 0}  # what is not answered was not taken any more
