"""Reading the headers and the body of a request, and refusing what cannot be one.

Both services read each request with these: Starlette's Request takes more time than all else that
the model service does with one.
"""

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from . import protocol

JSON_LENGTH = "inference-header-content-length"


def header(scope: Scope, name: str) -> str | None:
    """Return a header of a request; `name` is in lower case."""
    wanted = name.encode()
    for found, value in scope["headers"]:
        if found == wanted:
            return value.decode("latin-1")
    return None


async def read(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the body of a request, reading no more than `limit` bytes, and a chunk, of it.

    Raises:
        HTTPException: 413 for a larger one, 400 for none, or one whose JSON does not end where
            the request's header says.
        ClientDisconnect: the client hung up.
    """
    too_large = HTTPException(413, f"the body is larger than {limit} bytes")
    if int(header(scope, "content-length") or 0) > limit:
        raise too_large
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise too_large
        more = message.get("more_body", False)
    if not size:
        raise HTTPException(400, "the body is empty")
    body = b"".join(chunks)
    check_json_length(body, header(scope, JSON_LENGTH))
    return body


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
