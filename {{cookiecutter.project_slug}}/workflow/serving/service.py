"""The model service: one exported model behind HTTP, asked in batches.

    MODEL_FILE=models/model.onnx python -m workflow.serving.service --port 8000

It speaks the Open Inference Protocol for its one model; GET /metrics is for Prometheus.
"""

from typing import Any

import prometheus_client
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import CommandError
from . import model, observe, protocol, settings
from .inference import Inference, require
from .listen import arguments, is_draining, listen
from .metrics import ServiceMetrics
from .model import Model
from .settings import Settings


class Pages:
    """What the service answers about its model and itself."""

    def __init__(self, model: Model, metrics: ServiceMetrics, title: str) -> None:
        self.model = model
        self.title = title
        self.metrics = metrics

    async def server(self, request: Request) -> Response:
        """What answers here."""
        return JSONResponse(protocol.server_metadata(self.title))

    async def metadata(self, request: Request) -> Response:
        """What the model takes and gives, and what it was made from."""
        require(self.model, request.scope)
        return JSONResponse(self.model.metadata())

    async def models(self, request: Request) -> Response:
        """The one model, as the web application lists its many."""
        model = {"name": self.model.name, "ready": True, "version": self.model.version}
        return JSONResponse([model])

    async def model_ready(self, request: Request) -> Response:
        """Whether the model can be asked."""
        require(self.model, request.scope)
        return JSONResponse({"name": self.model.name, "ready": True})

    async def live(self, request: Request) -> Response:
        """Whether this runs."""
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        """Whether the model can be asked: until this shuts down.

        It was loaded before anything could ask.
        """
        if is_draining(request.scope):
            raise HTTPException(503, "shutting down")
        return JSONResponse({"ready": True})

    async def prometheus(self, request: Request) -> Response:
        """The metrics for Prometheus."""
        content = prometheus_client.generate_latest(self.metrics.registry)
        return Response(content, media_type=prometheus_client.CONTENT_TYPE_LATEST)


def create_app(model: Model, serving: Settings) -> ASGIApp:
    """Return the application that answers for a model."""
    metrics = ServiceMetrics(model)
    pages = Pages(model, metrics, serving.title)
    inference = Inference(model, serving, metrics)
    routes = [
        *of_model("/infer", inference, methods=["POST"]),
        *of_model("", pages.metadata),
        *of_model("/ready", pages.model_ready),
        Route("/v2", pages.server),
        Route("/v2/", pages.server),  # as some clients write it
        Route("/v2/models", pages.models),
        Route("/v2/health/live", pages.live),
        Route("/v2/health/ready", pages.ready),
        Route("/metrics", pages.prometheus),
    ]
    # Starlette's own application stands for layers that this has no use for.
    router = Router(routes, redirect_slashes=False, default=no_such_page)
    return observe.Observer(router, metrics, every=False)


def of_model(what: str, endpoint: Any, **options: Any) -> list[Route]:
    """Return the routes of a model, without and with a version."""
    paths = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
    return [Route(f"{path}{what}", endpoint, **options) for path in paths]


async def no_such_page(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a path that nothing answers."""
    raise HTTPException(404, "there is no such page")


def main() -> None:
    options = arguments(__doc__)
    try:
        serving = settings.load()
        served = model.from_environment(serving.threads, serving.provider)
        app = create_app(served, serving)
    except CommandError as error:
        raise SystemExit(f"serve: {error}") from None
    listen(app, options, serving.timeout_ms / 1000)


if __name__ == "__main__":
    main()
