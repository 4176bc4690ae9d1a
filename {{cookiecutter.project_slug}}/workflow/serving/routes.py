"""What the web application answers under /v2: the Open Inference Protocol."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Request
from starlette.responses import Response

from . import bodies, openapi, protocol
from .bodies import JSON_LENGTH
from .listen import is_draining
from .upstream import Upstream, UpstreamError

Endpoint = Callable[..., Any]

router = APIRouter(prefix="/v2")


async def find(
    name: Annotated[str, Path(description="Of the model, as `/v2/models` lists it")],
    request: Request,
) -> Upstream:
    """Return the service of a model."""
    upstreams: dict[str, Upstream] = request.app.state.upstreams
    if name not in upstreams:
        raise HTTPException(404, f"there is no model `{name}`")
    request.state.record.model = name
    return upstreams[name]


async def require_version(
    version: Annotated[str, Path(description="Of the model, as its metadata and answers name it")],
) -> None:
    """Put the version of a path into the documentation; `asked_version` reads it."""


async def asked_version(request: Request) -> str | None:
    """Return the version that a path names; None for whichever is served."""
    return request.path_params.get("version")


Model = Annotated[Upstream, Depends(find)]
Version = Annotated[str | None, Depends(asked_version)]


def of_model(
    what: str, summary: str, method: str = "GET", **options: Any
) -> Callable[[Endpoint], Endpoint]:
    """Declare what is answered of a model, under its path and that of each of its versions.

    Args:
        what: the end of both paths.
        summary: of the model, as `{}`.
    """

    def declare(endpoint: Endpoint) -> Endpoint:
        router.add_api_route(
            "/models/{name}" + what,
            endpoint,
            methods=[method],
            summary=summary.format("a model"),
            **options,
        )
        router.add_api_route(
            "/models/{name}/versions/{version}" + what,
            endpoint,
            methods=[method],
            name=f"version_{endpoint.__name__.removeprefix('model_')}",
            summary=summary.format("a version of a model"),
            description="An error names the version that is served, where it is another one.",
            dependencies=[Depends(require_version)],
            **options,
        )
        return endpoint

    return declare


@router.get("", tags=[openapi.SERVER], summary="Name and extensions of this server")
async def server(request: Request) -> dict[str, Any]:
    """The server's metadata, as the Open Inference Protocol has it."""
    return protocol.server_metadata(request.app.state.title)


router.add_api_route("/", server, include_in_schema=False)  # as some clients write it


@router.get("/health/live", tags=[openapi.HEALTH], summary="Whether this server runs")
async def live() -> dict[str, bool]:
    """For a liveness probe: the server answers, whatever its models do."""
    return {"live": True}


@router.get(
    "/health/ready",
    tags=[openapi.HEALTH],
    summary="Whether every model can be asked",
    responses=openapi.errors(503),
)
async def ready(request: Request) -> dict[str, bool]:
    """For a readiness probe: an error names the models that cannot be asked."""
    if is_draining(request.scope):
        raise HTTPException(503, "shutting down")
    missing = [model["name"] for model in await models(request) if not model["ready"]]
    if missing:
        raise HTTPException(503, f"not ready: {', '.join(missing)}")
    return {"ready": True}


@router.get("/models", tags=[openapi.MODELS], summary="The models, and which can be asked")
async def models(request: Request) -> list[dict[str, Any]]:
    """Each model with its version, which is `null` where it cannot be asked."""
    upstreams: dict[str, Upstream] = request.app.state.upstreams
    versions = await asyncio.gather(*map(version_of, upstreams.values()))
    rows = zip(upstreams, versions, strict=True)
    return [{"name": name, "ready": bool(version), "version": version} for name, version in rows]


@of_model(
    "",
    "Inputs, outputs and provenance of {}",
    tags=[openapi.MODELS],
    responses=openapi.errors(404, 502, 503, 504),
)
async def metadata(model: Model, version: Version) -> dict[str, Any]:
    """What it takes and gives, its version, and the run, code and data that it was made from."""
    return await model.metadata(version)


@of_model(
    "/ready",
    "Whether {} can be asked",
    tags=[openapi.HEALTH],
    responses=openapi.errors(404, 502, 503, 504),
)
async def model_ready(model: Model, version: Version) -> dict[str, Any]:
    """Whether its service answers."""
    await model.metadata(version)
    return {"name": model.name, "ready": True}


@of_model(
    "/infer",
    "Ask {}",
    method="POST",
    tags=[openapi.INFERENCE],
    openapi_extra=openapi.REQUEST,
    responses=openapi.ANSWERS,
    response_class=Response,
)
async def infer(model: Model, version: Version, request: Request) -> Response:
    """Send the inputs, get the outputs: in JSON, or with binary tensors behind it.

    The first dimension of each shape is the number of samples.
    """
    metrics, limit = request.app.state.metrics, request.app.state.max_body_bytes
    with metrics.in_flight.labels(model.name).track_inprogress():
        body = await bodies.read(request.scope, request.receive, limit)
        answer = await model.infer(body, request.state.record.request_id, version)
    request.state.record.version = answer.head.model_version
    for name in await model.predicted(answer):
        metrics.classes.labels(model.name, name).inc()
    headers = {"x-model-version": answer.head.model_version}
    if answer.run:
        headers["x-model-run"] = answer.run
    if not answer.is_binary:
        return Response(answer.body, headers=headers, media_type="application/json")
    headers[JSON_LENGTH] = str(answer.json_length)
    return Response(answer.body, headers=headers, media_type="application/octet-stream")


async def version_of(model: Upstream) -> str | None:
    """Return a model's version; None if it cannot be asked."""
    try:
        return (await model.metadata())["versions"][0]
    except UpstreamError:
        return None
