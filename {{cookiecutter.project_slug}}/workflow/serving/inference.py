"""Asking the model: what the model service does with each request."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from . import bodies, protocol
from .batching import Batcher
from .input_log import Log
from .metrics import ServiceMetrics
from .model import Model
from .settings import Settings


class Inference:
    """Answers `infer` of the Open Inference Protocol for one model.

    An ASGI application, because Starlette's Request and Response would take as long as the rest.
    """

    def __init__(self, model: Model, settings: Settings, metrics: ServiceMetrics) -> None:
        self.model = model
        self.in_flight = metrics.of_model
        self.max_body_bytes = settings.max_body_bytes
        self.batcher = Batcher(
            model.predict,
            max_batch_size=settings.max_batch_size,
            max_wait=settings.max_wait_ms / 1000,
            capacity=settings.capacity,
            timeout=settings.timeout_ms / 1000,
            note=metrics.note_batch,
        )
        self.log = None
        if settings.log_every:
            self.log = Log(model, settings.log_every, settings.log_max_bytes)
        self.identity_headers = [(b"x-model-version", model.version.encode())]
        if model.run:
            self.identity_headers.append((b"x-model-run", model.run.encode()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        require(self.model, scope)
        self.in_flight.inc()
        try:
            content, json_length = await self.answer(scope, receive)
        finally:
            self.in_flight.dec()
        length = str(len(content)).encode()
        headers = [(b"content-length", length), *self.identity_headers]
        if json_length == len(content):
            headers.append((b"content-type", b"application/json"))
        else:
            headers.append((b"content-type", b"application/octet-stream"))
            headers.append((bodies.JSON_LENGTH.encode(), str(json_length).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def answer(self, scope: Scope, receive: Receive) -> tuple[bytes, int]:
        """Return the body of the answer to a request, and the length of its JSON.

        Raises:
            HTTPException: the request cannot be answered.
        """
        body = await bodies.read(scope, receive, self.max_body_bytes)
        try:
            request, inputs = protocol.decode(body, self.model.signature)
            answers = await self.batcher.ask(inputs)
        except protocol.RequestError as error:
            raise HTTPException(400, str(error)) from None
        except asyncio.QueueFull:
            reason = f"too many requests wait for `{self.model.name}`"
            raise HTTPException(429, reason) from None
        except TimeoutError:
            raise HTTPException(504, f"`{self.model.name}` did not answer in time") from None
        record = scope["state"]["record"]
        record.version = self.model.version
        if self.log:
            self.log.add(request.id or record.request_id, inputs, answers)
        name, version, signature = self.model.name, self.model.version, self.model.signature
        return protocol.encode(request, answers, name, version, signature)


def require(model: Model, scope: Scope) -> None:
    """Note that this model is asked.

    Raises:
        HTTPException: 404 where the path names another model, or another version of this one.
    """
    name = scope["path_params"]["name"]
    if name != model.name:
        raise HTTPException(404, f"there is no model `{name}`")
    scope["state"]["record"].model = name
    version = scope["path_params"].get("version", model.version)
    if version != model.version:
        raise HTTPException(404, protocol.no_version(name, version, model.version))
