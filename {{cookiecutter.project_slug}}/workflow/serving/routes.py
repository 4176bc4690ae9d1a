"""What the web application answers under /v2: the Open Inference Protocol."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Request
from starlette.responses import Response

from . import bodies, openapi, protocol
from .bodies import JSON_LENGTH
from .listen import is_draining
from .upstream import Upstream, UpstreamError

router = APIRouter(prefix="/v2")


def find(
    name: Annotated[str, Path(description="Of the model, as `/v2/models` lists it")],
    request: Request,
) -> Upstream:
    """Return the service of a model."""
    upstreams: dict[str, Upstream] = request.app.state.upstreams
    if name not in upstreams:
        raise HTTPException(404, f"there is no model `{name}`")
    request.state.record.model = name
    return upstreams[name]


Model = Annotated[Upstream, Depends(find)]
Version = Annotated[str, Path(description="Of the model, as its metadata and answers name it")]


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
        raise HTTPException(503, "it is about to end")
    missing = [model["name"] for model in await models(request) if not model["ready"]]
    if missing:
        raise HTTPException(503, f"not ready: {', '.join(missing)}")
    return {"ready": True}


@router.get("/models", tags=[openapi.MODELS], summary="The models, and which can be asked")
async def models(request: Request) -> list[dict[str, Any]]:
    """Each model with its version, which is `null` where it cannot be asked."""
    upstreams: dict[str, Upstream] = request.app.state.upstreams
    versions = await asyncio.gather(*map(version_of, upstreams.values()))
    found = zip(upstreams, versions, strict=True)
    return [{"name": name, "ready": bool(version), "version": version} for name, version in found]


@router.get(
    "/models/{name}",
    tags=[openapi.MODELS],
    summary="Inputs, outputs and provenance of a model",
    responses=openapi.errors(404, 502, 503, 504),
)
async def metadata(model: Model) -> dict[str, Any]:
    """What it takes and gives, its version, and the run, code and data that it was made from."""
    return await model.metadata()


@router.get(
    "/models/{name}/versions/{version}",
    tags=[openapi.MODELS],
    summary="Inputs, outputs and provenance of a version",
    responses=openapi.errors(404, 502, 503, 504),
)
async def version_metadata(model: Model, version: Version) -> dict[str, Any]:
    """An error names the version that is served, where it is another one."""
    return await model.metadata(version)


@router.get(
    "/models/{name}/ready",
    tags=[openapi.HEALTH],
    summary="Whether a model can be asked",
    responses=openapi.errors(404, 502, 503, 504),
)
async def model_ready(model: Model) -> dict[str, Any]:
    """Whether its service answers."""
    await model.metadata()
    return {"name": model.name, "ready": True}


@router.get(
    "/models/{name}/versions/{version}/ready",
    tags=[openapi.HEALTH],
    summary="Whether a version can be asked",
    responses=openapi.errors(404, 502, 503, 504),
)
async def version_ready(model: Model, version: Version) -> dict[str, Any]:
    """An error names the version that is served, where it is another one."""
    await model.metadata(version)
    return {"name": model.name, "ready": True}


@router.post(
    "/models/{name}/infer",
    tags=[openapi.INFERENCE],
    summary="Ask a model",
    openapi_extra=openapi.REQUEST,
    responses=openapi.ANSWERS,
    response_class=Response,
)
async def infer(model: Model, request: Request) -> Response:
    """Send the inputs, get the outputs: in JSON, or with binary tensors behind it.

    The first dimension of each shape is the number of samples.
    """
    return await answer(model, None, request)


@router.post(
    "/models/{name}/versions/{version}/infer",
    tags=[openapi.INFERENCE],
    summary="Ask a version of a model",
    openapi_extra=openapi.REQUEST,
    responses=openapi.ANSWERS,
    response_class=Response,
)
async def version_infer(model: Model, version: Version, request: Request) -> Response:
    """An error names the version that is served, where it is another one."""
    return await answer(model, version, request)


async def answer(model: Upstream, version: str | None, request: Request) -> Response:
    """Pass a request on to a model, and its answer back."""
    metrics, limit = request.app.state.metrics, request.app.state.max_body_bytes
    with metrics.in_flight.labels(model.name).track_inprogress():
        body = await bodies.read(request.scope, request.receive, limit)
        got = await model.infer(body, request.state.record.request_id, version)
    request.state.record.version = got.head.model_version
    for name in await model.predicted(got):
        metrics.classes.labels(model.name, name).inc()
    headers = {"x-model-version": got.head.model_version}
    if got.run:
        headers["x-model-run"] = got.run
    if not got.is_binary:
        return Response(got.body, headers=headers, media_type="application/json")
    headers[JSON_LENGTH] = str(got.json_length)
    return Response(got.body, headers=headers, media_type="application/octet-stream")


async def version_of(model: Upstream) -> str | None:
    """Return a model's version; None if it cannot be asked."""
    try:
        return (await model.metadata())["versions"][0]
    except UpstreamError:
        return None
