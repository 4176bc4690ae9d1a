"""Files in an object store: s3://BUCKET/PATH, gs://, az://, or a folder, file:///PATH.

Credentials, region and endpoint come from the environment variables of each storage:
https://developmentseed.org/obstore/latest/authentication/
"""

import uuid
from pathlib import Path
from typing import Any

from .errors import CommandError


def send(path: Path, address: str) -> None:
    """Write a file into the folder at an address, under its own name.

    Raises:
        CommandError: it cannot be written.
    """
    store, errors = _open(address)
    try:
        store.put(path.name, path)
    except errors as error:
        raise _failed(address, path.name, error) from None


def fetch(name: str, address: str, target: Path) -> None:
    """Read a file of the folder at an address; `target` is there whole, or not at all.

    Raises:
        CommandError: it cannot be read.
    """
    store, errors = _open(address)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.{uuid.uuid4().hex}")  # others may fetch it, too
    try:
        with unfinished.open("wb") as file:
            for block in store.get(name).stream():
                file.write(block)
        unfinished.replace(target)
    except errors as error:
        raise _failed(address, name, error) from None
    finally:
        unfinished.unlink(missing_ok=True)


def _open(address: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """Return the folder at an address, and the errors that its methods raise."""
    try:
        from obstore.exceptions import BaseError
        from obstore.store import from_url
    except ImportError:
        raise CommandError(f"obstore, which reads {address}, is not installed: uv sync") from None
    errors = (BaseError, OSError, ValueError)
    local = address.startswith("file://")
    try:
        # An endpoint of one's own may be http; what is read is compared with its CRC-32.
        options: Any = {} if local else {"client_options": {"allow_http": True}}
        return from_url(address, **options), errors
    except errors as error:
        raise CommandError(f"{address}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def _failed(address: str, name: str, error: Exception) -> CommandError:
    return CommandError(f"{address}/{name}: {_reason(error)}")
