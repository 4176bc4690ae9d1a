"""All kinds of requests to a service for some time."""

from __future__ import annotations

import http.client
import json
import random
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
from served import IMAGE, Serving, mutated

CLIENTS = 4
RATE = 100  # requests a second, of all clients together
INFER = "/v2/models/model/infer"
PAGES = ("/", "/page/app.js", "/page/style.css", "/docs", "/openapi.json")
FACTS = ("/v2", "/v2/models", "/v2/models/model", "/v2/health/ready", "/metrics")
TENSOR = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8]}
JSON_BODY = json.dumps({"inputs": [{**TENSOR, "data": IMAGE}]}).encode()
PIXELS = bytes(value for row in IMAGE for value in row)
BINARY_TENSOR = {**TENSOR, "parameters": {"binary_data_size": len(PIXELS)}}
BINARY_BODY = json.dumps({"inputs": [BINARY_TENSOR]}).encode() + PIXELS


class Soak:
    """Clients that ask a service from now on, and the memory of its processes meanwhile."""

    def __init__(self, served: Serving, seconds: float) -> None:
        self.served = served
        self.processes = self._children()
        self._end = time.monotonic() + seconds
        self._pause = seconds / 300
        self._threads = ThreadPoolExecutor(CLIENTS + 1)
        clients = [Client(served.url, seed) for seed in range(CLIENTS)]
        self._asking = [self._threads.submit(c.run, self._end, CLIENTS / RATE) for c in clients]
        self._looking = self._threads.submit(self._look)

    def seen(self) -> Counter[tuple[str, int]]:
        """Wait for the end; return how often each kind of request had each status."""
        return sum((client.result() for client in self._asking), Counter[tuple[str, int]]())

    def memory(self) -> list[list[int]]:
        """Wait for the end; return the bytes of each process as they followed each other."""
        samples = self._looking.result()
        assert self._children() == self.processes
        return [list(values) for values in zip(*samples, strict=True)]

    def _children(self) -> list[psutil.Process]:
        return psutil.Process(self.served.process.pid).children(recursive=True)

    def _look(self) -> list[list[int]]:
        samples = []
        while time.monotonic() < self._end:
            samples.append([process.memory_full_info().uss for process in self.processes])
            time.sleep(self._pause)
        return samples


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
