"""The model service: one exported model behind HTTP, asked in batches.

    MODEL_FILE=models/model.onnx python -m <package>.serving.service --port 8000

It speaks the Open Inference Protocol for its one model; GET /metrics is for Prometheus.
"""

import argparse

import prometheus_client
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from . import bodies, log, metrics, model, observe, protocol, settings
from .batching import Batcher, QueueFullError
from .listen import listen
from .model import Model
from .settings import Settings


class Service:
    """Answers for one model."""

    def __init__(self, model: Model, chosen: Settings) -> None:
        self.model = model
        self.metrics = metrics.ServiceMetrics(model)
        self.max_body_bytes = chosen.max_body_bytes
        self.batcher = Batcher(
            model.predict,
            max_batch_size=chosen.max_batch_size,
            max_wait=chosen.max_wait_ms / 1000,
            capacity=chosen.capacity,
            timeout=chosen.timeout_ms / 1000,
            note=self.metrics.note_batch,
        )
        self.log = None
        if chosen.log_every:
            self.log = log.Log(model, chosen.log_every, chosen.log_max_bytes)

    async def infer(self, request: Request) -> Response:
        """Ask the model."""
        self.require(request)
        with self.metrics.of_model.track_inprogress():
            body = await bodies.read(request, self.max_body_bytes)
            try:
                asked, images = protocol.decode(body, self.model.signature)
                answers = await self.batcher.ask(images)
            except protocol.RequestError as error:
                raise HTTPException(400, str(error)) from None
            except QueueFullError:
                reason = f"too many requests wait for `{self.model.name}`"
                raise HTTPException(429, reason) from None
            except TimeoutError:
                raise HTTPException(504, f"`{self.model.name}` did not answer in time") from None
        record = request.state.record
        record.version = self.model.version
        if self.log:
            self.log.add(asked.id or record.request_id, images, answers)
        name, version, signature = self.model.name, self.model.version, self.model.signature
        content, length = protocol.encode(asked, answers, name, version, signature)
        headers = {"x-model-version": version}
        if length == len(content):
            return Response(content, headers=headers, media_type="application/json")
        headers[bodies.JSON_LENGTH] = str(length)
        return Response(content, headers=headers, media_type="application/octet-stream")

    async def metadata(self, request: Request) -> Response:
        """What the model takes and gives, and what it was made from."""
        self.require(request)
        return JSONResponse(self.model.metadata())

    async def model_ready(self, request: Request) -> Response:
        """Whether the model can be asked."""
        self.require(request)
        return JSONResponse({"name": self.model.name, "ready": True})

    async def live(self, request: Request) -> Response:
        """Whether this runs."""
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        """Whether the model can be asked: it was loaded before anything could ask."""
        return JSONResponse({"ready": True})

    async def numbers(self, request: Request) -> Response:
        """The numbers for Prometheus."""
        content = prometheus_client.generate_latest(self.metrics.registry)
        return Response(content, media_type=prometheus_client.CONTENT_TYPE_LATEST)

    def require(self, request: Request) -> None:
        """Refuse what is asked of another model."""
        name = request.path_params["name"]
        if name != self.model.name:
            raise HTTPException(404, f"there is no model `{name}`")
        request.state.record.model = name


def create_app(model: Model, chosen: Settings) -> ASGIApp:
    """Return the application that answers for a model."""
    service = Service(model, chosen)
    routes = [
        Route("/v2/models/{name}/infer", service.infer, methods=["POST"]),
        Route("/v2/models/{name}", service.metadata),
        Route("/v2/models/{name}/ready", service.model_ready),
        Route("/v2/health/live", service.live),
        Route("/v2/health/ready", service.ready),
        Route("/metrics", service.numbers),
    ]
    # Starlette's own application stands for layers that this has no use for.
    router = Router(routes, redirect_slashes=False, default=no_such_page)
    return observe.Observer(router, service.metrics, every=False)


async def no_such_page(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a path that nothing answers."""
    raise HTTPException(404, "there is no such page")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    try:
        chosen = settings.load()
        app = create_app(model.from_environment(chosen.threads), chosen)
    except (model.ModelError, settings.SettingsError) as error:
        raise SystemExit(f"serve: {error}") from None
    listen(app, arguments.address, arguments.port, chosen.timeout_ms / 1000)


if __name__ == "__main__":
    main()
