"""`inv serve` of a generated project, asked for long, wrongly, and by clients that hang up."""

from __future__ import annotations

import http.client
import json
import random
import socket
import statistics
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from driving import UV, Project
from test_serving import IMAGE, Serving, mutated, serving

pytestmark = pytest.mark.slow

SCHEMATHESIS = "schemathesis==4.32.5"
FUZZ_SECONDS = 120
# A body that follows the schema is refused where it is not one for this model: what a model takes
# is in its metadata, not in OpenAPI.
NOT_CHECKED = "positive_data_acceptance"
SOAK_SECONDS = 600
SOAK_CLIENTS = 4
SOAK_RATE = 100  # requests a second, of all clients together
MAX_GROWTH = 8 * 2**20  # bytes of one process
INFER = "/v2/models/model/infer"
PAGES = ("/", "/page/app.js", "/page/style.css", "/docs", "/openapi.json")
FACTS = ("/v2", "/v2/models", "/v2/models/model", "/v2/health/ready", "/metrics")
TENSOR = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8]}
JSON_BODY = json.dumps({"inputs": [{**TENSOR, "data": IMAGE}]}).encode()
PIXELS = bytes(value for row in IMAGE for value in row)
BINARY_TENSOR = {**TENSOR, "parameters": {"binary_data_size": len(PIXELS)}}
BINARY_BODY = json.dumps({"inputs": [BINARY_TENSOR]}).encode() + PIXELS


@pytest.fixture(scope="module")
def served(trained_once: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(trained_once.copy(tmp_path_factory.mktemp("abused"))) as running:
        yield running


def test_the_api_is_what_its_openapi_tells_whatever_it_is_asked(served: Serving) -> None:
    before = len(served.log.read_text("utf-8").splitlines())
    done = subprocess.run(
        [
            *(UV, "tool", "run", "--from", SCHEMATHESIS, "schemathesis", "run"),
            f"{served.url}/openapi.json",
            f"--max-time={FUZZ_SECONDS}",
            "--checks=all",
            f"--exclude-checks={NOT_CHECKED}",
            "--seed=1",
        ],
        cwd=served.log.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    asked: Counter[tuple[str, str, int]] = Counter()
    for line in served.log.read_text("utf-8").splitlines()[before:]:
        if line.startswith('{"time"'):
            told = json.loads(line)
            asked[told["method"], told["path"], told["status"]] += 1
    assert max(status for _, _, status in asked) < 500
    with urllib.request.urlopen(f"{served.url}/openapi.json") as got:
        paths = json.load(got)["paths"]
    for path, operations in paths.items():
        for method in operations:
            assert asked[method.upper(), path.replace("{name}", "model"), 200] >= 1
    assert asked["POST", INFER, 200] > 10
    assert asked["POST", INFER, 400] > 100


class Client:
    """One that does all kinds of things; `seen` counts what came of each."""

    def __init__(self, url: str, seed: int) -> None:
        self.address = url.removeprefix("http://")
        self.chance = random.Random(seed)
        self.connection = http.client.HTTPConnection(self.address, timeout=30)
        self.seen: Counter[tuple[str, int]] = Counter()
        self.kinds: dict[Callable[[], int], int] = {  # and how often of a hundred times
            self.ask: 40,
            self.ask_in_binary: 20,
            self.ask_wrongly: 20,
            self.ask_for_what_is_not_there: 2,
            self.announce_too_much: 2,
            self.hang_up_in_the_middle: 4,
            self.leave_before_the_answer: 4,
            self.open_a_page: 4,
            self.look: 4,
        }

    def run(self, end: float, pause: float) -> Counter[tuple[str, int]]:
        """Do something each `pause` seconds until `end`."""
        while (started := time.monotonic()) < end:
            (kind,) = self.chance.choices(list(self.kinds), list(self.kinds.values()))
            self.seen[kind.__name__, kind()] += 1
            time.sleep(max(0, started + pause - time.monotonic()))
        self.connection.close()
        return self.seen

    def request(self, method: str, path: str, body: bytes | None = None) -> int:
        self.connection.request(method, path, body)
        with self.connection.getresponse() as response:
            response.read()
        return response.status

    def ask(self) -> int:
        return self.request("POST", INFER, JSON_BODY)

    def ask_in_binary(self) -> int:
        return self.request("POST", INFER, BINARY_BODY)

    def ask_wrongly(self) -> int:
        body = self.chance.choice([JSON_BODY, BINARY_BODY])
        return self.request("POST", INFER, mutated(body, self.chance))

    def ask_for_what_is_not_there(self) -> int:
        return self.request("POST", f"/v2/models/{self.chance.randbytes(8).hex()}/infer", JSON_BODY)

    def announce_too_much(self) -> int:
        announced = http.client.HTTPConnection(self.address, timeout=30)
        announced.putrequest("POST", INFER)
        announced.putheader("Content-Length", str(10**9))
        announced.endheaders()
        with announced.getresponse() as response:
            response.read()
        announced.close()
        return response.status

    def hang_up_in_the_middle(self) -> int:
        return self.send(len(JSON_BODY) // 2)

    def leave_before_the_answer(self) -> int:
        return self.send(len(JSON_BODY))

    def send(self, length: int) -> int:
        """Send this much of a body, and hang up."""
        host, _, port = self.address.partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            head = (f"POST {INFER} HTTP/1.1", "Host: here", f"Content-Length: {len(JSON_BODY)}")
            connection.sendall("\r\n".join([*head, "", ""]).encode() + JSON_BODY[:length])
        return 0

    def open_a_page(self) -> int:
        return self.request("GET", self.chance.choice(PAGES))

    def look(self) -> int:
        return self.request("GET", self.chance.choice(FACTS))


def test_a_wrong_request_spoils_none_that_is_computed_with_it(served: Serving) -> None:
    def ask(kind: str) -> set[int]:
        client = Client(served.url, 0)
        return {
            client.ask() if kind == "right" else client.request("POST", INFER, b"wrong")
            for _ in range(300)
        }

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(ask, ["right", "wrong"] * 4))
    assert statuses == [{200}, {400}] * 4


def test_ten_minutes_of_all_kinds_of_requests_leave_memory_flat(served: Serving) -> None:
    assert served.infer(IMAGE)[1]
    processes = psutil.Process(served.process.pid).children(recursive=True)
    end = time.monotonic() + SOAK_SECONDS
    samples = []
    with ThreadPoolExecutor(SOAK_CLIENTS) as threads:
        pause = SOAK_CLIENTS / SOAK_RATE
        clients = [Client(served.url, seed) for seed in range(SOAK_CLIENTS)]
        running = [threads.submit(client.run, end, pause) for client in clients]
        while time.monotonic() < end:
            samples.append([process.memory_full_info().uss for process in processes])
            time.sleep(SOAK_SECONDS / 300)
        seen = sum((client.result() for client in running), Counter[tuple[str, int]]())
    assert psutil.Process(served.process.pid).children(recursive=True) == processes
    fifth = len(samples) // 5
    for number, process in enumerate(processes):
        memory = [sample[number] for sample in samples]
        before, after = (statistics.median(memory[start:][:fifth]) for start in (fifth, -fifth))
        print(f"{process.cmdline()[1:3]}: {before / 2**20:.1f} MiB, then {after / 2**20:.1f} MiB")
        assert after < before + MAX_GROWTH, process.cmdline()
    statuses: dict[str, set[int]] = {}
    for kind, status in seen:
        statuses.setdefault(kind, set()).add(status)
    assert statuses == {
        "ask": {200},
        "ask_in_binary": {200},
        "ask_wrongly": {200, 400},
        "ask_for_what_is_not_there": {404},
        "announce_too_much": {413},
        "hang_up_in_the_middle": {0},
        "leave_before_the_answer": {0},
        "open_a_page": {200},
        "look": {200},
    }
