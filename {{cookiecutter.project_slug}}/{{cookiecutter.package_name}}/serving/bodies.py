"""Reading the body of a request, and refusing what cannot be one."""

from starlette.exceptions import HTTPException
from starlette.requests import Request

from . import protocol

JSON_LENGTH = "inference-header-content-length"


async def read(request: Request, limit: int) -> bytes:
    """Return the body of a request, reading no more than `limit` bytes, and a chunk, of it.

    Raises:
        HTTPException: 413 for a larger one, 400 for none, or one whose JSON does not end where
            the request's header says.
    """
    too_large = HTTPException(413, f"the body is larger than {limit} bytes")
    if int(request.headers.get("content-length", 0)) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    if not body:
        raise HTTPException(400, "the body is empty")
    check_json_length(bytes(body), request.headers.get(JSON_LENGTH))
    return bytes(body)


def check_json_length(body: bytes, declared: str | None) -> None:
    """Raise HTTPException where the JSON of a body does not end where its sender says."""
    if declared is None:
        return
    try:
        found = protocol.json_length(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body does not begin with JSON: {error}") from None
    if declared != str(found):
        problem = f"the JSON of the body ends after {found} bytes, not {declared}"
        raise HTTPException(400, f"Inference-Header-Content-Length: {problem}")
