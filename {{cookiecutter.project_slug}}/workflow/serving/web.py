"""The web application: several model services behind one address, and a page to try them.

    MODELS="cnn=http://127.0.0.1:8001,mlp=http://127.0.0.1:8002" \\
        python -m workflow.serving.web --port 8000

Requests and answers of the Open Inference Protocol are passed on as they are. An answer that is
an error is always JSON: its `error` says why.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import prometheus_client
from fastapi import FastAPI, Request
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from ..errors import CommandError
from . import observe, openapi, protocol, routes, settings
from .connections import Connections
from .listen import arguments, listen
from .upstream import Upstream, UpstreamError

PAGE = Path(__file__).parent / "page"
PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'",
    "cache-control": "no-cache",  # asked for again each time: its files belong together
}


class PageFiles(StaticFiles):
    """The files that the page loads."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers.update(PAGE_HEADERS)
        return response


def create_app(models: dict[str, str]) -> FastAPI:
    """Return the application.

    Args:
        models: the address of the service of each model, by the model's name.
    """
    serving = settings.load()
    first = next(iter(models))
    # A service refuses by itself what is too much for it, and times out early enough, with a status
    # that says so: no limit here may come before that.
    timeout = aiohttp.ClientTimeout(total=serving.timeout_ms / 1000 + 2, sock_connect=2)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Connections(timeout) as connections:
            upstreams = (Upstream(name, models[name], connections) for name in models)
            app.state.upstreams = dict(zip(models, upstreams, strict=True))
            # The documentation's example is of the first model, once its service has answered.
            described = asyncio.create_task(routes.version_of(app.state.upstreams[first]))
            yield
            described.cancel()

    app = FastAPIOffline(
        title=serving.title,
        version=protocol.VERSION,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        generate_unique_id_function=lambda route: route.name,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.title = serving.title
    app.state.metrics = observe.Metrics()
    app.state.max_body_bytes = serving.max_body_bytes
    app.add_middleware(observe.Observer, metrics=app.state.metrics, every=True)
    app.add_exception_handler(HTTPException, observe.refuse)
    app.add_exception_handler(UpstreamError, refuse)
    app.include_router(routes.router)
    app.mount("/page", PageFiles(directory=PAGE))

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers=PAGE_HEADERS)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        content = prometheus_client.generate_latest(app.state.metrics.registry)
        return Response(content, media_type=prometheus_client.CONTENT_TYPE_LATEST)

    schema = app.openapi

    def described() -> dict[str, Any]:
        return openapi.describe(schema(), app.state.upstreams[first])

    app.openapi = described  # type: ignore[method-assign]  # as FastAPI wants it
    return app


async def refuse(request: Request, error: Exception) -> Response:
    """Answer for a model whose service did not."""
    assert isinstance(error, UpstreamError)
    return await observe.refuse(request, HTTPException(error.status, str(error)))


def addresses(text: str) -> dict[str, str]:
    """Return the address of each model of "name=http://host:port,name=…".

    Raises:
        CommandError: it is written otherwise.
    """
    by_name: dict[str, str] = {}
    for item in text.split(","):
        match = re.fullmatch(r"([\w.-]+)=(https?://[\w.:\[\]-]+)/?", item.strip(), re.ASCII)
        if not match:
            raise CommandError(f"MODELS: {item!r}: write NAME=ADDRESS: cnn=http://127.0.0.1:8001")
        if match[1] in by_name:
            raise CommandError(f"MODELS: {match[1]} has two addresses")
        by_name[match[1]] = match[2]
    return by_name


def main() -> None:
    options = arguments(__doc__)
    try:
        app = create_app(addresses(os.environ.get("MODELS", "")))
    except CommandError as error:
        raise SystemExit(f"serve: {error}") from None
    listen(app, options, timeout=10)


if __name__ == "__main__":
    main()
