"""Models that are not on this machine: read from an object storage, or from a web server.

Credentials, region and endpoint come from the environment variables of each storage:
https://developmentseed.org/obstore/latest/authentication/
"""

import hashlib
import os
import re
import tempfile
from base64 import b64encode
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import from_url

from ..errors import CommandError

if TYPE_CHECKING:  # obstore has them in its stubs alone
    from obstore.store import ClientConfig, RetryConfig

SCHEMES = ("s3", "gs", "az", "https", "http", "file")
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
S3_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
CHUNK_BYTES = 2**20
SHA256 = re.compile(r"[0-9a-f]{64}")
METADATA_HOSTS = ("169.254.", "metadata.google.internal")  # where a cloud gives its credentials

# A server that does not answer times out within half a minute. A large model may take longer.
CLIENT: "ClientConfig" = {
    "allow_http": True,  # an endpoint of one's own; what comes is checked by its SHA-256
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=10),
    "timeout": timedelta(hours=1),
}
RETRIES: "RetryConfig" = {"max_retries": 2, "retry_timeout": timedelta(seconds=15)}


def is_url(text: str) -> bool:
    """Return whether this is a URL and not a path."""
    return "://" in text


def shown(url: str) -> str:
    """Return a URL without user, password and query: what may be printed."""
    return re.sub(r"(?<=://)[^/?#]*@", "", url).partition("?")[0]


def fetch(url: str, sha256: str, folder: Path) -> Path:
    """Bring a model into `folder`, where it is called by its SHA-256; once, if it is there.

    Raises:
        CommandError: there is no such model, it may not be read, its server does not answer, or
            it is not the one of this SHA-256.
    """
    expected = sha256.lower()
    if not SHA256.fullmatch(expected):
        raise CommandError(f"{shown(url)}: {sha256!r} is not a SHA-256: sha256sum prints it")
    target = folder / f"{expected}.onnx"
    if target.is_file() and digest(target) == expected:
        return target
    return save(read(url), folder, shown(url), expected)


def save(content: Iterable[bytes], folder: Path, source: str, sha256: str | None = None) -> Path:
    """Write content to a read-only file in `folder` called by its SHA-256, whole or not at all.

    Args:
        source: where the content is from, for errors.
        sha256: what the content must have; anything without.

    Raises:
        CommandError: the content is another, or cannot be written.
    """
    digest = hashlib.sha256()
    part = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
            part = Path(file.name)
            for chunk in content:
                digest.update(chunk)
                file.write(chunk)
        if sha256 and digest.hexdigest() != sha256:
            raise CommandError(f"{source}: its SHA-256 is {digest.hexdigest()}, not {sha256}")
        target = folder / f"{digest.hexdigest()}.onnx"
        part.chmod(0o444)
        part.replace(target)
    except OSError as error:
        raise CommandError(f"{source}: cannot be written to {folder}: {error.strerror}") from None
    finally:
        if part:
            part.unlink(missing_ok=True)
    return target


def digest(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def read(url: str) -> Iterator[bytes]:
    """Read what is at a URL, piece by piece.

    Raises:
        CommandError: there is no such object, it may not be read, or its server does not answer.
    """
    scheme = url.partition("://")[0]
    if scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise CommandError(f"{shown(url)}: no such place: a path, or one of {known}")
    if scheme == "file":
        yield from read_file(Path(url2pathname(urlsplit(url).path)))
        return
    try:
        place, key, client = split_web(url) if scheme.startswith("http") else split_bucket(url)
        store = from_url(place, client_options=client, retry_config=RETRIES)
        for chunk in obstore.get(store, key).stream(min_chunk_size=CHUNK_BYTES):
            yield bytes(chunk)
    except (BaseError, OSError, ValueError) as error:
        raise CommandError(f"{shown(url)}: {reason(error, scheme)}") from None


def read_file(path: Path) -> Iterator[bytes]:
    """Read a file piece by piece.

    Raises:
        CommandError: there is none, or it may not be read.
    """
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None


def split_bucket(url: str) -> tuple[str, str, "ClientConfig"]:
    """Return the bucket, the key in it, and the options.

    Raises:
        ValueError: there is no key, or the endpoint is not a URL.
    """
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket or not key:
        raise ValueError("write BUCKET/KEY behind ://")
    for name in S3_ENDPOINTS if scheme == "s3" else ():
        # obstore panics on another.
        if not os.environ.get(name, "http://").startswith(("http://", "https://")):
            raise ValueError(f"{name} is not a URL: write https://HOST")
    return f"{scheme}://{bucket}", key, CLIENT


def split_web(url: str) -> tuple[str, str, "ClientConfig"]:
    """Return the server with the query, the path on it, and the options with the password.

    Raises:
        ValueError: this is not a URL.
    """
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    place = parts._replace(netloc=host, path="/", fragment="").geturl()
    if not login:
        return place, unquote(parts.path), CLIENT
    header = f"Basic {b64encode(unquote(login).encode()).decode()}"
    return place, unquote(parts.path), {**CLIENT, "default_headers": {"authorization": header}}


def reason(error: Exception, scheme: str) -> str:
    """Return why an object could not be read, in one line."""
    text = str(error).partition("\n")[0]
    if isinstance(error, FileNotFoundError):
        return "there is no such object"
    if any(place in text for place in (*METADATA_HOSTS, "Account must be specified")):
        return f"no credentials: set {CREDENTIALS.get(scheme, 'them')}"
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return "forbidden: its credentials are missing, wrong, or not those of a reader"
    if "InvalidCertificate(" in str(error):
        return "its certificate is not trusted: SSL_CERT_FILE names the authorities that are"
    if status := re.search(r"non-2xx status code: ([\w ]+)", text):
        return f"its server answered {status[1].strip()}"
    if "HTTP error" in text:
        server = re.search(r"Error performing \w+ (\w+://[^/\s]+)", text)
        return (
            f"{shown(server[1]) if server else 'its server'} cannot be reached, or does not answer"
        )
    return re.sub(r"\w+://\S+", lambda match: shown(match[0]), text)
