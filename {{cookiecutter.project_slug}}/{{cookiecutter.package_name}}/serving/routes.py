"""What the web application answers under /v2: the Open Inference Protocol."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.responses import Response

from . import bodies, openapi
from .bodies import JSON_LENGTH
from .upstream import Upstream, UpstreamError

router = APIRouter(prefix="/v2")


def find(name: str, request: Request) -> Upstream:
    """Return the service of a model."""
    upstreams: dict[str, Upstream] = request.app.state.upstreams
    if name not in upstreams:
        raise HTTPException(404, f"there is no model `{name}`")
    request.state.record.model = name
    return upstreams[name]


Model = Annotated[Upstream, Depends(find)]


@router.get("")
async def server() -> dict[str, Any]:
    """What answers here."""
    name = (__package__ or "").partition(".")[0]
    return {"name": name, "version": "2", "extensions": ["binary_tensor_data"]}


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """Whether this application runs."""
    return {"live": True}


@router.get("/health/ready", responses=openapi.errors(503))
async def ready(request: Request) -> dict[str, bool]:
    """Whether every model can be asked."""
    missing = [model["name"] for model in await models(request) if not model["ready"]]
    if missing:
        raise HTTPException(503, f"not ready: {', '.join(missing)}")
    return {"ready": True}


@router.get("/models")
async def models(request: Request) -> list[dict[str, Any]]:
    """Each model, whether it can be asked, and its version."""
    upstreams: dict[str, Upstream] = request.app.state.upstreams
    versions = await asyncio.gather(*map(version_of, upstreams.values()))
    found = zip(upstreams, versions, strict=True)
    return [{"name": name, "ready": bool(version), "version": version} for name, version in found]


@router.get("/models/{name}", responses=openapi.errors(404, 502, 503, 504))
async def metadata(model: Model) -> dict[str, Any]:
    """What a model takes and gives, and what it was made from."""
    return await model.metadata()


@router.get("/models/{name}/ready", responses=openapi.errors(404, 502, 503, 504))
async def model_ready(model: Model) -> dict[str, Any]:
    """Whether a model can be asked."""
    await model.metadata()
    return {"name": model.name, "ready": True}


@router.post(
    "/models/{name}/infer",
    openapi_extra=openapi.REQUEST,
    responses=openapi.ANSWERS,
    response_class=Response,
)
async def infer(model: Model, request: Request) -> Response:
    """Ask a model: JSON, or JSON with binary tensors behind it."""
    metrics, limit = request.app.state.metrics, request.app.state.max_body_bytes
    with metrics.in_flight.labels(model.name).track_inprogress():
        body = await bodies.read(request.scope, request.receive, limit)
        answer = await model.infer(body, request.state.record.request_id)
    version = answer.head.model_version
    request.state.record.version = version
    for name in await model.predicted(answer):
        metrics.classes.labels(model.name, name).inc()
    headers = {"x-model-version": version}
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
