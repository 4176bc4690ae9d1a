"""What is known of each request: its identifier, a line of log, and metrics for Prometheus."""

import functools
import json
import logging
import random
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import bodies

log = logging.getLogger(__name__)

SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
HUNG_UP = 499  # what log and metrics have where a client left before there was an answer


class Metrics:
    """The metrics of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "inference_requests",
            "Inference requests that were answered",
            ["model", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "inference_seconds",
            "From the first byte of an inference request to the last of its answer",
            ["model"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "inference_requests_in_flight",
            "Inference requests that are not answered yet",
            ["model"],
            registry=self.registry,
        )
        self.classes = Counter(
            "inference_classes",
            "Samples by the class that the model gave them",
            ["model", "class"],
            registry=self.registry,
        )


@dataclass
class Record:
    """What the application notes of a request while it answers."""

    request_id: str
    model: str | None = None  # a known one: a name that a client made up would be a new metric
    version: str | None = None
    error: str | None = None


class Observer:
    """Around an application: gives each request a Record, each answer its identifier."""

    def __init__(self, app: ASGIApp, metrics: Metrics, every: bool) -> None:
        """Stand before `app`.

        Args:
            every: whether each request has a line of log, or only one that was not answered well.
        """
        self.app = app
        # Looked up once: there are few models and statuses, and each request is counted.
        self.answered = functools.cache(metrics.requests.labels)
        self.seconds = functools.cache(metrics.seconds.labels)
        self.every = every

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = bodies.header(scope, "x-request-id") or ""
        record = Record(sent if SANE_ID.fullmatch(sent) else f"{random.getrandbits(128):032x}")
        scope.setdefault("state", {})["record"] = record
        scope.setdefault("app", self.app)  # or Starlette refuses a wrong method in plain text
        started = time.perf_counter()
        status = HUNG_UP

        async def send_identified(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                identified = (b"x-request-id", record.request_id.encode())
                message["headers"] = [*message["headers"], identified]
            await send(message)

        try:
            await self.app(scope, receive, send_identified)
        except HTTPException as error:
            answer = await refuse(Request(scope), error)
            await answer(scope, receive, send_identified)
        except ClientDisconnect:
            pass  # nobody reads an answer
        except Exception as error:
            log.exception("request %s", record.request_id)
            record.error = repr(error)
            if status == HUNG_UP:
                failed = JSONResponse({"error": "the server failed"}, 500)
                await failed(scope, receive, send_identified)
        self._note(scope, record, status, time.perf_counter() - started)

    def _note(self, scope: Scope, record: Record, status: int, seconds: float) -> None:
        if scope["path"].endswith("/infer"):
            model = record.model or ""
            self.answered(model, status).inc()
            self.seconds(model).observe(seconds)
        if status < 400 and not self.every:
            return
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": record.request_id,
            "method": scope["method"],
            "path": scope["path"],
            "model": record.model,
            "version": record.version,
            "status": status,
            "ms": round(1000 * seconds, 2),
        }
        log.info(json.dumps(line if record.error is None else {**line, "error": record.error}))


async def refuse(request: Request, error: Exception) -> Response:
    """Answer an HTTPException in the words of the protocol."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code in (429, 503):
        headers["retry-after"] = "1"
    request.state.record.error = error.detail
    return JSONResponse({"error": error.detail}, error.status_code, headers)
