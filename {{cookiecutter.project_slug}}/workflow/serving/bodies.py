"""Reading the headers and the body of a request, and refusing an invalid one.

Both services read each request with these: Starlette's Request takes more time than everything
else that the model service does with one.
"""

import re

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from . import protocol

JSON_LENGTH = "inference-header-content-length"
CHARSET = re.compile(rb';\s*charset\s*=\s*"?([^\s;"]*)', re.IGNORECASE)
CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii"}  # JSON is UTF-8, of which ASCII is a part


def header(scope: Scope, name: str) -> str | None:
    """Return a header of a request; `name` is in lower case."""
    encoded = name.encode()
    for key, value in scope["headers"]:
        if key == encoded:
            return value.decode("latin-1")
    return None


async def read(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Return the body of a request, reading no more than `limit` bytes, and a chunk, of it.

    Raises:
        HTTPException: 413 for a larger one, 400 for none, or one whose JSON does not end where
            the request's header says; as `check_headers`.
        ClientDisconnect: the client hung up.
    """
    check_headers(scope)
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


def check_headers(scope: Scope) -> None:
    """Refuse a body that is not what it seems to be: compressed, in another charset, or a part.

    Raises:
        HTTPException: 415 for `Content-Encoding` or a charset, 501 for `Transfer-Encoding`, 400
            for `Content-Range`.
    """
    for name, value in scope["headers"]:
        if name == b"content-encoding":
            if other := codings(value) - {"identity"}:
                reason = f"Content-Encoding: {', '.join(sorted(other))}: send the body uncompressed"
                raise HTTPException(415, reason, {"accept-encoding": "identity"})
        elif name == b"transfer-encoding":
            if other := codings(value) - {"chunked"}:
                reason = f"Transfer-Encoding: {', '.join(sorted(other))}: only chunked is known"
                raise HTTPException(501, reason)
        elif name == b"content-type":
            match = CHARSET.search(value)
            if match and (charset := match[1].decode("latin-1").lower()) not in CHARSETS:
                raise HTTPException(415, f"Content-Type: charset {charset}: send the JSON in UTF-8")
        elif name == b"content-range":
            raise HTTPException(400, "Content-Range: send the whole body in one request")


def codings(value: bytes) -> set[str]:
    """Return the codings that the value of a header names."""
    return {each.strip().lower() for each in value.decode("latin-1").split(",")} - {""}


def check_json_length(body: bytes, declared: str | None) -> None:
    """Raise HTTPException where the JSON of a body does not end where its sender says."""
    if declared is None:
        return
    try:
        length = protocol.json_length(body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body does not start with JSON: {error}") from None
    if declared != str(length):
        problem = f"the JSON of the body ends after {length} bytes, not {declared}"
        raise HTTPException(400, f"Inference-Header-Content-Length: {problem}")
