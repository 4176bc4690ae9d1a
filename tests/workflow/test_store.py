"""Models that are read from elsewhere: a server of this machine, which has them or has not."""

import hashlib
import http.server
import os
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from workflow.errors import CommandError
from workflow.serving import model, store

USER = "someone:hidden"
LOGIN = f"Basic {b64encode(USER.encode()).decode()}"
OTHER = 64 * "0"


class Handler(http.server.BaseHTTPRequestHandler):
    """Gives `content` where it is asked as it should be; counts how often in `asked`."""

    content: bytes
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        url = urlsplit(self.path)
        status = {
            "/model.onnx": HTTPStatus.OK,
            "/my%20model%25.onnx": HTTPStatus.OK,
            "/login": HTTPStatus.OK if self.headers["authorization"] == LOGIN else 401,
            "/signed": HTTPStatus.OK if parse_qs(url.query) == {"signature": ["a+b"]} else 403,
            "/broken": HTTPStatus.INTERNAL_SERVER_ERROR,
        }.get(url.path, HTTPStatus.NOT_FOUND)
        body = self.content if status == HTTPStatus.OK else b"no"
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def content(exported: Path) -> bytes:
    return (exported / "model.onnx").read_bytes()


@pytest.fixture
def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def asked(content: bytes) -> list[str]:
    """What the server was asked for."""
    Handler.content, Handler.asked = content, []
    return Handler.asked


@pytest.fixture
def server(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Host and port of a web server."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "url",
    [
        "http://{}/model.onnx",
        "http://{}/my%20model%25.onnx",
        "http://{user}@{}/login",
        "http://{}/signed?signature=a%2Bb",
    ],
)
def test_a_model_is_read_from_a_web_server(
    url: str, server: str, content: bytes, sha256: str, tmp_path: Path
) -> None:
    file = store.fetch(url.format(server, user=USER), sha256.upper(), tmp_path / "models")
    assert file == tmp_path / "models" / f"{sha256}.onnx"
    assert file.read_bytes() == content
    assert not os.access(file, os.W_OK) or os.geteuid() == 0
    assert list(file.parent.iterdir()) == [file]


def test_a_file_has_a_url_too(exported: Path, sha256: str, tmp_path: Path) -> None:
    file = store.fetch((exported / "model.onnx").as_uri(), sha256, tmp_path)
    assert store.digest(file) == sha256


def test_it_is_fetched_once_unless_it_was_changed(
    server: str, asked: list[str], sha256: str, tmp_path: Path
) -> None:
    url = f"http://{server}/model.onnx"
    file = store.fetch(url, sha256, tmp_path)
    assert store.fetch(url, sha256, tmp_path) == file
    assert asked == ["/model.onnx"]
    file.chmod(0o644)
    file.write_bytes(b"other")
    assert store.digest(store.fetch(url, sha256, tmp_path)) == sha256


WRONG = [
    ("http://{}/none?key=hidden", "there is no such object"),
    ("http://{}/login", "forbidden: "),
    ("http://{user}-or-so@{}/login", "forbidden: "),
    ("http://{}/signed?key=hidden", "forbidden: "),
    ("http://{}/broken?key=hidden", "its server answered 500 Internal Server Error"),
    ("https://{}/model.onnx", "cannot be reached, or does not answer"),
    ("http://{user}@{down}/model.onnx", "cannot be reached, or does not answer"),
    ("http://nobody.invalid/model.onnx?key=hidden", "cannot be reached, or does not answer"),
    ("http://{user}@{}:wrong/model.onnx", "invalid"),
    ("http://[{}/model.onnx?key=hidden", "Invalid"),
    ("s3://bucket", "write BUCKET/KEY"),
    ("s3:///model.onnx", "write BUCKET/KEY"),
    ("s3://bucket/model.onnx", "AWS_ENDPOINT_URL is not a URL"),
    ("az://container/model.onnx", "no credentials: set AZURE_STORAGE_ACCOUNT_NAME"),
    ("ftp://{user}@{}/model.onnx", "one of s3://, gs://"),
    ("file:///nowhere.onnx", "No such file"),
]


@pytest.mark.parametrize(("url", "reason"), WRONG)
def test_what_cannot_be_had_is_one_line_without_secrets(
    url: str,
    reason: str,
    server: str,
    sha256: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "storage:9000")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        down = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(CommandError) as raised:
            store.fetch(url.format(server, user=USER, down=down), sha256, tmp_path / "models")
    assert reason in str(raised.value)
    assert "hidden" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "models").iterdir()) == []


def test_another_content_is_refused_and_not_kept(server: str, sha256: str, tmp_path: Path) -> None:
    for wrong, reason in [
        (OTHER, f"its SHA-256 is {sha256}, not {OTHER}"),
        ("abc", "not a SHA"),
    ]:
        with pytest.raises(CommandError, match=reason):
            store.fetch(f"http://{server}/model.onnx", wrong, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_takes_no_file_is_one_line(server: str, sha256: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="cannot be written to ") as raised:
        store.fetch(f"http://{server}/model.onnx", sha256, tmp_path / "file")
    assert "\n" not in str(raised.value)


def test_the_processes_of_a_service_fetch_their_model_once(
    server: str,
    asked: list[str],
    sha256: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("MODEL_FILE", f"http://{server}/model.onnx")
    monkeypatch.setenv("MODEL_SHA256", sha256)
    assert {model.from_environment().version for _ in range(3)} == {sha256[:12]}
    assert asked == ["/model.onnx"]


def test_a_url_is_served_with_its_checksum_only(
    server: str, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    url = f"http://{server}/model.onnx"
    monkeypatch.setenv("MODEL_FILE", f"{url}?key=hidden")
    for given, reason in [(None, "set MODEL_SHA256"), ("", "set MODEL_SHA256"), (OTHER, OTHER)]:
        monkeypatch.delenv("MODEL_SHA256", raising=False)
        if given is not None:
            monkeypatch.setenv("MODEL_SHA256", given)
        with pytest.raises(CommandError, match=reason) as raised:
            model.from_environment()
        assert str(raised.value).startswith(f"{url}: ")
        assert "hidden" not in str(raised.value)
    assert len(asked) == 1


def test_an_object_that_is_no_model_is_called_by_its_url(
    server: str, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Handler.content = b"no model"
    monkeypatch.setenv("MODEL_FILE", f"http://{server}/model.onnx")
    monkeypatch.setenv("MODEL_SHA256", hashlib.sha256(b"no model").hexdigest())
    with pytest.raises(CommandError, match=f"^http://{server}/model.onnx: "):
        model.from_environment()
