"""Models on a real S3 server of this machine: a service reads its own from there when it starts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import socket
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from driving import Project, interpreter
from engine import answer, free_port, until
from served import IMAGE
from test_remotes import Remote, s3

pytestmark = pytest.mark.slow

LOCATE = """
import sys
from workflow.errors import CommandError
from workflow.serving import sources
try:
    found = sources.locate(sys.argv[1])
except CommandError as error:
    raise SystemExit(f"error: {error}")
print(found.url, found.sha256)
"""
SILENCE_SECONDS = 60  # within which a service gives up a server that says nothing


@dataclass
class Storage:
    """An S3 server with a bucket, and what a service needs to read from it."""

    remote: Remote
    folder: Path
    variables: dict[str, str]

    def put(self, content: bytes) -> tuple[str, str]:
        """Put a model there; return its URL and SHA-256."""
        (self.folder / "bucket" / "folder").mkdir(exist_ok=True)
        (self.folder / "bucket" / "folder" / "model.onnx").write_bytes(content)
        return "s3://bucket/folder/model.onnx", hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    folder = tmp_path_factory.mktemp("storage")
    with s3(folder) as remote:
        variables = {
            "AWS_ENDPOINT_URL": remote.local["endpointurl"],
            "AWS_ACCESS_KEY_ID": remote.local["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": remote.local["secret_access_key"],
        }
        yield Storage(remote, folder, variables)


def command(project: Project, port: int) -> list[str]:
    """What starts a model service, as the image `serve` does it."""
    options = ("--address=127.0.0.1", f"--port={port}")
    return [
        str(interpreter(project.python, project.framework)),
        "-m",
        "workflow.serving.service",
        *options,
    ]


@contextlib.contextmanager
def service(project: Project, folder: Path, **variables: str) -> Iterator[str]:
    """A model service that answers; its address."""
    port = free_port()
    log = folder / f"service-{port}.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command(project, port),
            cwd=project.path,
            env={**project.env, **variables, "TMPDIR": str(folder)},
            stdout=file,
            stderr=file,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: answer(f"{url}/v2/health/ready") == 200 or process.poll() is not None)
        assert process.poll() is None, log.read_text("utf-8")
        yield url
    finally:
        process.terminate()
        process.wait(30)


def refused(project: Project, **variables: str) -> str:
    """The one line with which a model service ends."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command(project, free_port()),
            cwd=project.path,
            env={**project.env, **variables, "TMPDIR": folder},
            capture_output=True,
            text=True,
            timeout=SILENCE_SECONDS,
            check=False,
        )
        assert not [path for path in Path(folder).iterdir() if path.suffix in (".onnx", ".part")]
    printed = done.stdout + done.stderr
    assert done.returncode == 1, printed
    assert printed.startswith("serve: "), printed
    assert printed.count("\n") == 1, printed
    return printed.removeprefix("serve: ").strip()


def version_that_answers(url: str) -> str:
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8], "data": IMAGE}
    body = json.dumps({"inputs": [tensor]}).encode()
    request = urllib.request.Request(f"{url}/v2/models/model/infer", body)
    with urllib.request.urlopen(request, timeout=30) as got:
        answered = json.load(got)
    assert len(answered["outputs"][0]["data"]) == 10
    return answered["model_version"]


def test_a_service_reads_its_model_from_s3(
    trained: Project, storage: Storage, tmp_path: Path
) -> None:
    content = (trained.path / "models/model.onnx").read_bytes()
    url, sha256 = storage.put(content)
    variables = {**storage.variables, "MODEL_FILE": url, "MODEL_SHA256": sha256}
    with service(trained, tmp_path, **variables) as running:
        assert version_that_answers(running) == sha256[:12]
    (fetched,) = tmp_path.glob("*.onnx")
    assert fetched.read_bytes() == content


def test_what_is_wrong_with_it_is_one_line(trained: Project, storage: Storage) -> None:
    url, sha256 = storage.put((trained.path / "models/model.onnx").read_bytes())
    right = {**storage.variables, "MODEL_FILE": url, "MODEL_SHA256": sha256}
    none = "s3://bucket/none.onnx"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        here = f"http://127.0.0.1:{silent.getsockname()[1]}"
        nobody = f"http://127.0.0.1:{free_port()}"
        for wrong, reason in [
            ({"MODEL_SHA256": ""}, f"{url}: a model from a URL needs its SHA-256"),
            ({"MODEL_SHA256": 64 * "0"}, f"{url}: its SHA-256 is {sha256}, not {64 * '0'}"),
            ({"MODEL_FILE": none}, f"{none}: there is no such object"),
            ({"MODEL_FILE": "s3://none/a.onnx"}, "s3://none/a.onnx: there is no such object"),
            ({"AWS_SECRET_ACCESS_KEY": "wrong"}, f"{url}: forbidden: "),
            ({"AWS_ENDPOINT_URL": nobody}, f"{url}: {nobody} cannot be reached"),
            ({"AWS_ENDPOINT_URL": here}, f"{url}: {here} cannot be reached, or does not answer"),
        ]:
            assert refused(trained, **{**right, **wrong}).startswith(reason)


def test_a_model_in_the_dvc_remote_is_served_from_there(
    trained: Project, storage: Storage, tmp_path: Path
) -> None:
    project = trained.copy(tmp_path)
    project.run("dvc", "remote", "modify", "storage", "url", storage.remote.url)
    for option, value in storage.remote.local.items():
        project.run("dvc", "remote", "modify", "--local", "storage", option, value)
    project.commit("The first model")
    project.run("git", "tag", "model@v1.0.0")
    locate = tmp_path / "locate.py"
    locate.write_text(LOCATE)

    def located(source: str, code: int = 0) -> str:
        command = ("python", str(locate), f"model={source}")
        variables = {"PYTHONPATH": str(project.path)}
        return project.run(*command, code=code, variables=variables).strip()

    file = project.path / "models/model.onnx"
    for source in ("models/model.onnx", "models/model.onnx@model@v1.0.0"):
        missing = f"error: {source}: it is not in the DVC remote: inv data.push"
        assert located(source, code=1) == missing
    project.inv("data.push")
    first = located("models/model.onnx")
    url, sha256 = first.split()
    assert url.startswith("s3://bucket/dvc/files/md5/")
    assert sha256 == hashlib.sha256(file.read_bytes()).hexdigest()

    file.chmod(0o644)
    file.write_bytes(b"not what DVC knows")
    assert "it is not what dvc.lock says" in located("models/model.onnx", code=1)
    shutil.rmtree(project.path / ".dvc/cache")
    assert located("models/model.onnx@model@v1.0.0") == first

    variables = {**storage.variables, "MODEL_FILE": url, "MODEL_SHA256": sha256}
    with service(project, tmp_path, **variables) as running:
        assert version_that_answers(running) == sha256[:12]


@pytest.mark.parametrize("remote", ["ssh://someone@host/folder", "webdavs://host/folder"])
def test_a_cluster_reads_not_from_every_remote(
    remote: str, trained: Project, tmp_path: Path
) -> None:
    project = trained.copy(tmp_path)
    project.run("dvc", "remote", "modify", "storage", "url", remote)
    printed = project.run("python", "-c", LOCATE, "model=models/model.onnx", code=1)
    kind = remote.partition(":")[0]
    assert printed.startswith(f"error: models/model.onnx: DVC has it in {kind}, where a cluster")
    assert printed.count("\n") == 1
