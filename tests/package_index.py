"""A test double of a company's package index: HTTPS, a password, a certificate of its own.

What it serves:

- `simple`: the pages of another index, and the files that they link to, passed through;
- `torch/simple`: one wheel of torch, as an index of CPU builds has it.

    with PackageIndex(folder, "127.0.0.1", "https://…/simple", wheel) as index:
        ...  # a client uses index.url("simple") and trusts index.certificate
        assert "numpy" in index.delivered.values()
"""

from __future__ import annotations

import base64
import re
import secrets
import shutil
import ssl
import subprocess
import sys
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urljoin, urlsplit
from urllib.request import Request, urlopen

from listening import Listening

RELAYED = ("Content-Type", "Content-Length", "Content-Range", "Accept-Ranges")


class PackageIndex(Listening):
    """The index: a context manager that listens on a free port of an address of this machine."""

    def __init__(self, folder: Path, address: str, upstream: str, torch: Path) -> None:
        self.address = address
        self.upstream = upstream.rstrip("/")
        self.torch = torch
        self.user = f"user-{secrets.token_hex(8)}"
        self.password = f"password-{secrets.token_hex(16)}"
        self.certificate, chain, key = make_certificates(folder, f"IP:{address}")
        # By a file's name: its project and where it is; the project alone, once a client has it.
        self.files = {torch.name: ("torch", torch.as_uri())}
        self.delivered: dict[str, str] = {}

        handler = type("IndexHandler", (Handler,), {"index": self})
        server = Server((address, 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        super().__init__(server)

    @property
    def host(self) -> str:
        return f"{self.address}:{self._server.server_port}"

    @property
    def credentials(self) -> str:
        """User and password as a request's header has them."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def url(self, path: str, password: str = "") -> str:
        """What a user's settings name: the address of an index with its credentials."""
        return f"https://{self.user}:{password or self.password}@{self.host}/{path}"

    def page(self, project: str) -> bytes:
        """The other index's page of a project, with links to the files here."""
        request = Request(f"{self.upstream}/{project}/", headers={"Accept": "text/html"})
        with urlopen(request) as response:
            text, address = response.read().decode(), response.url

        def link(found: re.Match[str]) -> str:
            file, _, checksum = urljoin(address, unescape(found[1])).partition("#")
            name = unquote(file.rpartition("/")[2])
            self.files[name] = (project, file)
            return f'href="/files/{quote(name)}#{checksum}"'

        return re.sub(r'href="([^"]*)"', link, text).encode()


class Server(ThreadingHTTPServer):
    """Many clients at once, any of which may hang up."""

    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    """HTTP in front of a `PackageIndex`."""

    index: PackageIndex
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != f"Basic {self.index.credentials}":
            return self._send(401, {"WWW-Authenticate": 'Basic realm="packages"'})
        folder, _, name = unquote(urlsplit(self.path).path).strip("/").rpartition("/")
        try:
            if (folder, name) == ("torch/simple", "torch"):
                wheel = self.index.torch.name
                return self._send_page(f'<a href="/files/{quote(wheel)}">{wheel}</a>'.encode())
            if folder == "simple":
                return self._send_page(self.index.page(name))
            if folder == "files":
                return self._relay(name)
        except HTTPError as error:
            return self._send(error.code)
        except URLError:
            return self._send(502)
        except KeyError:
            pass
        return self._send(404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Silent: what a test wants to know is in the index's state."""

    def _relay(self, name: str) -> None:
        file = name.removesuffix(".metadata")
        project, address = self.index.files[file]
        wanted = {"Range": self.headers["Range"]} if "Range" in self.headers else {}
        address += name.removeprefix(file)
        with urlopen(Request(address, headers=wanted, method=self.command)) as response:
            headers = {key: response.headers[key] for key in RELAYED if key in response.headers}
            self._head(response.status or 200, headers)  # a local file has no status
            if self.command == "GET":
                shutil.copyfileobj(response, self.wfile, 1 << 20)
                if name == file and "Content-Range" not in headers:
                    self.index.delivered[name] = project

    def _send_page(self, body: bytes) -> None:
        self._send(200, {"Content-Type": "text/html"}, body)

    def _send(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self._head(status, {"Content-Length": str(len(body)), **(headers or {})})
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()


def make_certificates(folder: Path, names: str) -> tuple[Path, Path, Path]:
    """An authority's certificate, that of a server with these names, and the server's key."""
    ca, ca_key, server, key = (str(folder / name) for name in ("ca.pem", "ca.key", "pem", "key"))
    # Two certificates, as clients accept no server that is its own authority.
    new = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1")
    company = ("-subj", "/CN=Company", "-out", ca, "-keyout", ca_key)
    packages = ("-subj", "/CN=packages", "-out", server, "-keyout", key)
    uses = ("-addext", f"subjectAltName={names}", "-addext", "basicConstraints=CA:FALSE")
    signed = ("-CA", ca, "-CAkey", ca_key)
    for options in (company, (*packages, *uses, *signed)):
        subprocess.run([*new, *options], check=True, capture_output=True)
    return Path(ca), Path(server), Path(key)
