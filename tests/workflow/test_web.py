"""The web application before real model services: its routes, its errors, its numbers."""

import gzip
import http.client
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import onnx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from workflow.errors import CommandError
from workflow.paths import PREPARED_DATA, ROOT
from workflow.serving import model, settings, web

PACKAGE = web.__name__.rpartition(".")[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A module that listens; `log` is what it prints."""

    def __init__(self, module: str, folder: Path, *options: str, **variables: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"{module}-{self.port}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *(options or [f"--port={self.port}"])],
                cwd=ROOT,
                env={**os.environ, **variables},
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait()

    def wait(self, path: str) -> None:
        """Wait until it answers."""
        end = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"{self.url}{path}", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)


class Balancer:
    """Passes connections on as a Service of Kubernetes does: one keeps the replica it got."""

    def __init__(self) -> None:
        self.target = 0  # the port that new connections get
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Balancer":
        return self

    def __exit__(self, *error: object) -> None:
        self.listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                asking, _ = self.listener.accept()
                answering = socket.create_connection(("127.0.0.1", self.target))
                for ends in ((asking, answering), (answering, asking)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def servers(exported: Path) -> Iterator[dict[str, Server]]:
    """Model services by the name of their model; `web`, and `troubled` whose models have faults."""
    limits: dict[str, dict[str, str]] = {
        "digits": {},
        "busy": {"SERVING_CAPACITY": "1", "SERVING_MAX_BATCH_SIZE": "1"},
        "slow": {"SERVING_TIMEOUT_MS": "5"},
        "narrow": {"SERVING_MAX_BODY_BYTES": "1000"},
    }
    with ExitStack() as stack:
        made = {}
        for name, variables in limits.items():
            given = {"MODEL_NAME": name, "MODEL_FILE": str(exported / "model.onnx"), **variables}
            made[name] = stack.enter_context(Server(f"{PACKAGE}.service", exported, **given))
        port = str(free_port())
        other = stack.enter_context(Server("http.server", exported, port, "--bind=127.0.0.1"))
        for name in limits:
            made[name].wait("/v2/health/ready")
        addresses = {name: made[name].url for name in made}
        troubled = {
            "slow": addresses["slow"],
            "narrow": addresses["narrow"],
            "unknown": addresses["digits"],
            "down": f"http://127.0.0.1:{free_port()}",
            "other": f"http://127.0.0.1:{port}",
        }
        for key, models in (
            ("web", {name: addresses[name] for name in ("digits", "busy")}),
            ("troubled", troubled),
        ):
            given = {"MODELS": ",".join(f"{name}={url}" for name, url in models.items())}
            made[key] = stack.enter_context(Server(f"{PACKAGE}.web", exported, **given))
            made[key].wait("/v2/health/live")
        assert other.process.poll() is None
        yield made


@pytest.fixture
def client(servers: dict[str, Server]) -> Iterator[httpx.Client]:
    """Asks the web application."""
    with httpx.Client(base_url=servers["web"].url, trust_env=False, timeout=30) as made:
        yield made


@pytest.fixture
def troubled(servers: dict[str, Server]) -> Iterator[httpx.Client]:
    """Asks the one whose models have faults."""
    with httpx.Client(base_url=servers["troubled"].url, trust_env=False, timeout=30) as made:
        yield made


@pytest.fixture(scope="module")
def images(exported: Path) -> np.ndarray:
    """Three test images."""
    return np.load(exported / PREPARED_DATA / "test_images.npy")[:3]


@pytest.fixture(scope="module")
def expected(exported: Path, images: np.ndarray) -> np.ndarray:
    """The model's own answer for them."""
    return model.load("digits", exported / "model.onnx").predict({"images": images})


@pytest.fixture(scope="module")
def version(exported: Path) -> str:
    return model.load("digits", exported / "model.onnx").version


@pytest.fixture(scope="module")
def asked(images: np.ndarray) -> Callable[..., dict[str, Any]]:
    """Makes a request for the images, each `times` over."""

    def make(times: int = 1, **more: Any) -> dict[str, Any]:
        many = np.concatenate([images] * times)
        tensor = {"name": "images", "datatype": "UINT8", "shape": list(many.shape)}
        return {"inputs": [{**tensor, "data": many.ravel().tolist()}], **more}

    return make


def numbers(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """What /metrics tells, by name and the values of the labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    return {(s.name, *(s.labels[key] for key in sorted(s.labels))): s.value for s in samples}


def assert_refused(answer: httpx.Response, status: int, reason: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert reason in answer.json()["error"]
    assert answer.headers["x-request-id"]
    assert answer.headers.get("retry-after") == ("1" if status in (429, 503) else None)


def test_it_tells_what_is_there(client: httpx.Client, version: str) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models").json() == [
        {"name": name, "ready": True, "version": version} for name in ("digits", "busy")
    ]
    assert client.get("/v2/models/digits/ready").json() == {"name": "digits", "ready": True}


def test_each_path_of_the_protocol_is_answered_with_and_without_a_version(
    servers: dict[str, Server], exported: Path, asked: Callable[..., Any], version: str
) -> None:
    expected = model.load("digits", exported / "model.onnx").metadata()
    assert expected["versions"] == [version]
    for name in ("web", "digits"):
        with httpx.Client(base_url=servers[name].url, trust_env=False, timeout=30) as client:
            for path in ("/v2", "/v2/"):
                server = client.get(path).json()
                assert server == {
                    "name": settings.load(ROOT / settings.FILE).title,
                    "version": "2",
                    "extensions": ["binary_tensor_data"],
                }
            assert client.get("/v2/health/live").json() == {"live": True}
            assert client.get("/v2/health/ready").json() == {"ready": True}
            answers = []
            for path in ("/v2/models/digits", f"/v2/models/digits/versions/{version}"):
                assert client.get(path).json() == expected
                assert client.get(f"{path}/ready").json() == {"name": "digits", "ready": True}
                answers.append(client.post(f"{path}/infer", json=asked()).json())
                assert_refused(client.get(f"{path}/infer"), 405, "Method Not Allowed")
                assert_refused(client.post(path), 405, "Method Not Allowed")
            assert answers[0] == answers[1]
            assert answers[0]["model_version"] == version


def test_an_unknown_version_error_names_the_one_there_is(
    servers: dict[str, Server], asked: Callable[..., Any], version: str
) -> None:
    for name in ("web", "digits"):
        with httpx.Client(base_url=servers[name].url, trust_env=False, timeout=30) as client:
            for unknown in ("1", "..", "a?b", version[:-1], version.upper() + "%"):
                path = f"/v2/models/digits/versions/{quote(unknown, safe='').replace('.', '%2E')}"
                reason = f"no version `{unknown}` of `digits`: version `{version}` is served"
                assert_refused(client.get(path), 404, reason)
                assert_refused(client.get(f"{path}/ready"), 404, reason)
                assert_refused(client.post(f"{path}/infer", json=asked()), 404, reason)
            assert_refused(client.get("/v2/models/none/versions/1"), 404, "no model `none`")


def test_metadata_is_that_of_the_model(client: httpx.Client, exported: Path) -> None:
    for name in ("digits", "busy"):
        expected = model.load(name, exported / "model.onnx").metadata()
        assert client.get(f"/v2/models/{name}").json() == expected


def test_an_answer_is_the_models_own(
    client: httpx.Client, asked: Callable[..., Any], expected: np.ndarray, version: str
) -> None:
    answer = client.post("/v2/models/digits/infer", json=asked(id="mine"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-model-version"] == version
    provenance = client.get("/v2/models/digits").json()["parameters"]["provenance"]
    assert answer.headers["x-model-run"] == provenance["run"]["id"]
    assert answer.json()["id"] == "mine"
    (output,) = answer.json()["outputs"]
    np.testing.assert_allclose(np.reshape(output["data"], output["shape"]), expected, atol=1e-6)


def test_binary_tensors_pass_both_ways(
    client: httpx.Client, images: np.ndarray, expected: np.ndarray, version: str
) -> None:
    tensor = {"name": "images", "datatype": "UINT8", "shape": list(images.shape)}
    tensor["parameters"] = {"binary_data_size": images.size}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    for headers in ({}, {"Inference-Header-Content-Length": str(len(head))}):
        content = head + images.tobytes()
        answer = client.post("/v2/models/digits/infer", content=content, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["x-model-version"] == version
        length = int(answer.headers["inference-header-content-length"])
        assert json.loads(answer.content[:length])["model_version"] == version
        values = np.frombuffer(answer.content[length:], "<f4").reshape(expected.shape)
        np.testing.assert_allclose(values, expected, atol=1e-6)
    for wrong in (str(len(head) - 1), str(len(content)), "many", "-1"):
        headers = {"Inference-Header-Content-Length": wrong}
        answer = client.post("/v2/models/digits/infer", content=content, headers=headers)
        assert_refused(answer, 400, f"after {len(head)} bytes, not {wrong}")


def test_a_request_keeps_its_identifier(client: httpx.Client) -> None:
    for given in ("mine", "a.b_c-9", "x" * 128):
        answer = client.get("/v2", headers={"x-request-id": given})
        assert answer.headers["x-request-id"] == given
    made = set()
    for given in ("", "x" * 129, "two words", 'a"b', "a/b"):
        made.add(client.get("/v2", headers={"x-request-id": given}).headers["x-request-id"])
    assert {len(each) for each in made} == {32}
    assert len(made) == 5


def test_a_wrong_request_gets_the_reason(client: httpx.Client, asked: Callable[..., Any]) -> None:
    url = "/v2/models/digits/infer"
    assert_refused(client.post("/v2/models/none/infer", json=asked()), 404, "no model `none`")
    assert_refused(client.get("/v2/models/none"), 404, "no model `none`")
    assert_refused(client.get("/nothing"), 404, "Not Found")
    assert_refused(client.get("/page/nothing"), 404, "Not Found")
    assert_refused(client.get("/page/../web.py"), 404, "Not Found")
    assert_refused(client.get(url), 405, "Method Not Allowed")
    assert_refused(client.post("/v2"), 405, "Method Not Allowed")
    assert_refused(client.post(url), 400, "the body is empty")
    assert_refused(client.post(url, content=b"{"), 400, "no request in JSON")
    wrong = asked()
    wrong["inputs"][0]["datatype"] = "FP32"
    assert_refused(client.post(url, json=wrong), 400, "`images` is UINT8, not FP32")


def test_a_body_that_is_not_what_it_seems_is_refused_and_not_misread(
    servers: dict[str, Server], asked: Callable[..., Any]
) -> None:
    plain = json.dumps(asked()).encode()
    refused = [
        ([("content-encoding", "gzip")], gzip.compress(plain), 415, "Content-Encoding: gzip: "),
        ([("content-encoding", "gzip")], plain, 415, "send the body uncompressed"),
        ([("content-encoding", "identity, BR")], plain, 415, "Content-Encoding: br: "),
        ([("content-encoding", "identity"), ("content-encoding", "x")], plain, 415, ": x: "),
        ([("transfer-encoding", "gzip, chunked")], plain, 501, "Transfer-Encoding: gzip: "),
        ([("content-range", "bytes 0-9/20")], plain, 400, "the whole body in one request"),
        *(
            ([("content-type", f"application/json; charset={charset}")], plain, 415, reason)
            for charset, reason in [
                ("utf-16", "charset utf-16: send the JSON in UTF-8"),
                ('"Latin1"; x=y', "charset latin1: "),
                ("", "charset : "),
            ]
        ),
    ]
    taken = [
        [("content-encoding", "")],
        [("content-encoding", "Identity")],
        [("transfer-encoding", "chunked")],
        [("content-type", 'application/json; charset="UTF-8"')],
        [("content-type", "application/json;Charset=utf8;x=y")],
        [("content-type", "application/x-www-form-urlencoded")],  # what curl says by itself
    ]
    for name in ("web", "digits"):
        with connected(servers[name]) as connection:
            for headers, content, status, reason in refused:
                answer = ask_raw(connection, content, headers)
                assert_refused(answer, status, reason)
                if "Content-Encoding" in reason:
                    assert answer.headers["accept-encoding"] == "identity"
            for headers in taken:
                assert ask_raw(connection, plain, headers).status_code == 200, headers


@pytest.mark.slow
def test_a_request_on_a_kept_connection_is_answered_though_the_server_ends(
    servers: dict[str, Server], exported: Path, asked: Callable[..., Any]
) -> None:
    content = json.dumps(asked()).encode()
    for module, variables in (
        ("service", {"MODEL_NAME": "digits", "MODEL_FILE": str(exported / "model.onnx")}),
        ("web", {"MODELS": f"digits={servers['digits'].url}"}),
    ):
        with ExitStack() as stack:
            ending = stack.enter_context(Server(f"{PACKAGE}.{module}", exported, **variables))
            ending.wait("/v2/health/ready")
            kept = [stack.enter_context(connected(ending)) for _ in range(20)]
            for connection in kept:
                answer = ask_raw(connection, content)
                assert (answer.status_code, answer.headers.get("connection")) == (200, None)
            with ThreadPoolExecutor(8) as threads:
                under_load = [threads.submit(ask_until_closed, ending, content) for _ in range(8)]
                time.sleep(0.2)
                ending.process.terminate()
                time.sleep(0.3)  # uvicorn alone would have closed those that ask nothing
                ready = httpx.get(f"{ending.url}/v2/health/ready", trust_env=False)
                assert_refused(ready, 503, "shutting down")
                for connection in kept:
                    answer = ask_raw(connection, content)
                    assert answer.status_code == 200
                    assert answer.headers["connection"] == "close"
                assert min(each.result() for each in under_load) > 1
            assert ending.process.wait(timeout=30) == 0


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=30)


def ask_raw(
    connection: socket.socket, content: bytes, headers: Sequence[tuple[str, str]] = ()
) -> httpx.Response:
    """Ask the model `digits` with these very headers, over this very connection."""
    if any(name == "transfer-encoding" for name, _ in headers):
        content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
    else:
        headers = [*headers, ("content-length", str(len(content)))]
    lines = ["POST /v2/models/digits/infer HTTP/1.1", "host: x", *map(": ".join, headers)]
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + content)
    got = http.client.HTTPResponse(connection)
    got.begin()
    return httpx.Response(got.status, headers=got.getheaders(), content=got.read())


def ask_until_closed(server: Server, content: bytes) -> int:
    """Ask over one connection until an answer closes it; return how many there were."""
    with connected(server) as connection:
        for number in itertools.count(1):
            answer = ask_raw(connection, content)
            assert answer.status_code == 200
            if answer.headers.get("connection") == "close":
                return number
    raise AssertionError


def test_a_large_body_is_refused_before_it_is_read(
    client: httpx.Client, servers: dict[str, Server]
) -> None:
    limit = settings.load(ROOT / settings.FILE).max_body_bytes
    url = "/v2/models/digits/infer"
    assert_refused(client.post(url, content=b" " * (limit + 1)), 413, f"than {limit} bytes")
    assert_refused(client.post(url, content=b" " * limit), 400, "no request in JSON")
    chunk = b"%x\r\n" % (limit + 1) + b" " * (limit + 1)
    for header, part in (
        ("content-length: 1000000000", b"{"),
        ("transfer-encoding: chunked", chunk),
    ):
        head = f"POST {url} HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", servers["web"].port), timeout=30) as sender:
            sender.sendall(head + part)
            assert sender.recv(100).startswith(b"HTTP/1.1 413 ")  # while it waits for the rest


def test_what_a_service_cannot_do_is_an_error(
    troubled: httpx.Client, asked: Callable[..., Any], version: str
) -> None:
    for name, times, status, reason in [
        ("down", 1, 503, "the service of `down` cannot be reached"),
        ("unknown", 1, 503, "does not serve `unknown`"),
        ("other", 1, 502, "the service of `other` failed"),
        ("narrow", 100, 413, "larger than 1000 bytes"),
        ("slow", 5000, 504, "`slow` did not answer in time"),
    ]:
        answer = troubled.post(f"/v2/models/{name}/infer", json=asked(times))
        assert_refused(answer, status, reason)
    assert_refused(troubled.get("/v2/models/down"), 503, "cannot be reached")
    assert_refused(troubled.get("/v2/models/down/ready"), 503, "cannot be reached")
    assert_refused(troubled.get("/v2/health/ready"), 503, "not ready: unknown, down, other")
    assert troubled.get("/v2/health/live").status_code == 200
    listed = {model["name"]: model for model in troubled.get("/v2/models").json()}
    assert listed["down"] == {"name": "down", "ready": False, "version": None}
    assert listed["narrow"] == {"name": "narrow", "ready": True, "version": version}


def test_a_full_queue_is_an_error(client: httpx.Client, asked: Callable[..., Any]) -> None:
    content = json.dumps(asked(300)).encode()
    with ThreadPoolExecutor(32) as threads:
        ask = lambda _: client.post("/v2/models/busy/infer", content=content)  # noqa: E731
        answers = list(threads.map(ask, range(100)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < len(answers)
    for answer in refused:
        assert_refused(answer, 429, "too many requests wait for `busy`")


@pytest.mark.slow
def test_a_service_that_comes_back_is_asked_again(
    exported: Path, asked: Callable[..., Any]
) -> None:
    variables = {"MODEL_NAME": "digits", "MODEL_FILE": str(exported / "model.onnx")}
    with ExitStack() as stack:
        service = stack.enter_context(Server(f"{PACKAGE}.service", exported, **variables))
        given = {"MODELS": f"digits={service.url}"}
        before = stack.enter_context(Server(f"{PACKAGE}.web", exported, **given))
        before.wait("/v2/health/ready")
        ask = lambda: httpx.post(  # noqa: E731
            f"{before.url}/v2/models/digits/infer", json=asked(), trust_env=False
        )
        assert ask().status_code == 200
        service.process.terminate()
        service.process.wait()
        assert_refused(ask(), 503, "cannot be reached")
        options = (f"--port={service.port}",)
        stack.enter_context(Server(f"{PACKAGE}.service", exported, *options, **variables))
        before.wait("/v2/health/ready")
        assert ask().status_code == 200


@pytest.mark.slow
def test_a_new_replica_gets_its_share_though_connections_are_kept(
    exported: Path, asked: Callable[..., Any]
) -> None:
    other = exported / "other.onnx"
    content = onnx.load(exported / "model.onnx")
    content.metadata_props.add(key="note", value="another version")
    onnx.save(content, other)
    with ExitStack() as stack:
        balancer = stack.enter_context(Balancer())
        replicas = []
        for file in (exported / "model.onnx", other):
            variables = {"MODEL_NAME": "digits", "MODEL_FILE": str(file)}
            replica = stack.enter_context(Server(f"{PACKAGE}.service", exported, **variables))
            replica.wait("/v2/health/ready")
            replicas.append(replica)
        balancer.target = replicas[0].port
        given = {"MODELS": f"digits={balancer.url}"}
        page = stack.enter_context(Server(f"{PACKAGE}.web", exported, **given))
        page.wait("/v2/health/ready")
        seen = []
        end = time.monotonic() + 60
        with httpx.Client(base_url=page.url, trust_env=False) as client:
            while len(set(seen)) < 2:
                answer = client.post("/v2/models/digits/infer", json=asked())
                assert answer.status_code == 200
                seen.append(answer.headers["x-model-version"])
                balancer.target = replicas[1].port
                assert time.monotonic() < end, "the new replica is never asked"
                time.sleep(0.01)
    versions = [model.load("digits", file).version for file in (exported / "model.onnx", other)]
    assert [seen[0], seen[-1]] == versions


def test_metrics_count_requests_and_classes(
    client: httpx.Client, asked: Callable[..., Any], expected: np.ndarray
) -> None:
    before = numbers(client)
    asked_binary = asked(parameters={"binary_data_output": True})
    for content in (asked(), asked_binary):
        assert client.post("/v2/models/digits/infer", json=content).status_code == 200
    client.post("/v2/models/digits/infer")
    client.post("/v2/models/made-up/infer", json=asked())
    after = numbers(client)

    def grown(*key: str) -> float:
        return after.get(key, 0) - before.get(key, 0)

    assert grown("inference_requests_total", "digits", "200") == 2
    assert grown("inference_requests_total", "digits", "400") == 1
    assert grown("inference_requests_total", "", "404") == 1
    assert grown("inference_seconds_count", "digits") == 3
    assert 0 < grown("inference_seconds_sum", "digits") < 5
    assert after["inference_requests_in_flight", "digits"] == 0
    counts = np.bincount(expected.argmax(axis=1), minlength=10)
    for index, count in enumerate(counts):
        assert grown("inference_classes_total", str(index), "digits") == 2 * count
    assert not [key for key in after if "made-up" in key]


def test_each_request_is_a_line_of_log(
    client: httpx.Client, servers: dict[str, Server], asked: Callable[..., Any], version: str
) -> None:
    url = "/v2/models/digits/infer"
    client.post(url, json=asked(), headers={"x-request-id": "logged"})
    client.post(url, headers={"x-request-id": "refused"})
    client.get("/v2")  # its line comes behind theirs
    lines = [json.loads(line) for line in servers["web"].log.read_text().splitlines()]
    found = {line["request_id"]: line for line in lines}
    logged = found["logged"]
    assert 0 < logged.pop("ms") < 5000
    assert logged.pop("time").endswith("+00:00")
    route = {"method": "POST", "path": url, "model": "digits"}
    assert logged == {"request_id": "logged", **route, "version": version, "status": 200}
    assert (found["refused"]["status"], found["refused"]["error"]) == (400, "the body is empty")


def test_a_client_that_hangs_up_leaves_no_error(
    client: httpx.Client, servers: dict[str, Server], asked: Callable[..., Any]
) -> None:
    def counted() -> float:
        """How many requests were answered or given up."""
        total = ("inference_requests_total", "digits")
        return sum(value for name, value in numbers(client).items() if name[:2] == total)

    before = counted()
    body = json.dumps(asked(300)).encode()
    url = "/v2/models/digits/infer"
    head = f"POST {url} HTTP/1.1\r\ncontent-length: {len(body)}\r\nhost: x\r\n\r\n"
    for sent in (len(body) // 2, len(body)):
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", servers["web"].port)) as connection:
                connection.sendall(head.encode() + body[:sent])
    for _ in range(300):
        if counted() == before + 10:
            break
        time.sleep(0.1)
    assert counted() == before + 10
    # Those that were cut are given up; of those sent whole, some are read too late.
    assert numbers(client)["inference_requests_total", "digits", "499"] >= 5
    assert numbers(client)["inference_requests_in_flight", "digits"] == 0
    printed = servers["web"].log.read_text()
    assert [line for line in printed.splitlines() if not line.startswith('{"time"')] == []


def test_the_page_and_the_documentation_need_nothing_from_elsewhere(client: httpx.Client) -> None:
    for path in ("/", "/page/app.js", "/page/style.css", "/page/icon.svg"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"] == "default-src 'self'"
        assert "https://" not in answer.text
    assert "https://" not in client.get("/docs").text
    api = client.get("/openapi.json").json()
    infer = api["paths"]["/v2/models/{name}/infer"]["post"]
    example = infer["requestBody"]["content"]["application/json"]["example"]
    assert client.post("/v2/models/digits/infer", json=example).status_code == 200


def test_wrong_addresses_end_it_with_one_line(tmp_path: Path) -> None:
    assert web.addresses("a=http://h:1, b=https://h.example/") == {
        "a": "http://h:1",
        "b": "https://h.example",
    }
    for wrong in ("", "a", "a=h:1", "a=http://h:1,", "a/b=http://h:1", "a=http://h:1,a=http://h:2"):
        with pytest.raises(CommandError, match="MODELS: "):
            web.addresses(wrong)
    wrong = Server(f"{PACKAGE}.web", tmp_path, MODELS="cnn")
    assert wrong.process.wait(timeout=60) == 1
    assert wrong.log.read_text().startswith("serve: MODELS: 'cnn': write NAME=ADDRESS")
    assert wrong.log.read_text().count("\n") == 1


def test_it_starts_without_what_only_a_model_needs() -> None:
    # Its image has neither; one import of a type from the models' module would end it there.
    missing = "import sys; sys.modules.update(dict.fromkeys(['onnxruntime', 'torch']))"
    code = f"{missing}; import workflow.serving.web"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
