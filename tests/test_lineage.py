"""`inv lineage` of a generated project: files, services and runs, with real data and remotes."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from driving import Project
from engine import free_port
from served import IMAGE, Serving, serving
from wandb_backend import Backend

pytestmark = pytest.mark.slow

MODEL = "models/model.onnx"
COMMIT_AS = ("-c", "user.name=me", "-c", "user.email=me@localhost", "-c", "core.hooksPath=")


@dataclass(frozen=True)
class Made:
    """A project whose model and data are in its remote, and what Git and DVC say of them."""

    project: Project
    commit: str
    run: str
    data: dict[str, str]

    def copy(self, target: Path) -> Made:
        return Made(self.project.copy(target), self.commit, self.run, self.data)

    def lineage(self, what: str = MODEL, **variables: str) -> list[str]:
        """The lines below the command, without guides."""
        printed = self.project.inv("lineage", what, variables=variables)
        lines = [re.sub(r"^[│├└─ ]+", "", line).rstrip() for line in printed.splitlines()]
        return lines[next(i for i, line in enumerate(lines) if line.startswith("$")) + 1 :]


@pytest.fixture(scope="module")
def known(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> Made:
    project = trained.copy(tmp_path_factory.mktemp("lineage"))
    commit = project.run("git", "rev-parse", "HEAD").strip()
    project.inv("data.push")
    project.run("git", "add", "--all")
    project.run("git", *COMMIT_AS, "commit", "--quiet", "--message", "Trained")
    lock = yaml.safe_load((project.path / "dvc.lock").read_text("utf-8"))
    outs = [out for stage in ("fetch", "prepare") for out in lock["stages"][stage]["outs"]]
    run = project.runs()[0]["run_id"]
    return Made(project, commit, run, {out["path"]: out["md5"] for out in outs})


def remove_objects(folder: Path, md5: str) -> None:
    (folder / "files/md5" / md5[:2] / md5[2:]).unlink()


def test_a_file_tells_the_whole_chain(known: Made) -> None:
    lines = known.lineage()
    assert re.fullmatch(rf"{MODEL}, version [0-9a-f]{{12}}", lines[0])
    assert lines[1] == f"run {known.run}, in wandb/ here"
    subject = known.project.run("git", "log", "-1", "--format=%s, %cs", known.commit).strip()
    short = known.project.run("git", "rev-parse", "--short", known.commit).strip()
    branch = known.project.run("git", "branch", "--show-current").strip()
    assert f"commit {short} {subject}, on {branch}" in lines
    assert any(line.startswith("changes ") and "params.yaml" in line for line in lines)
    for name, file in [("config", "params.yaml"), ("lock", "uv.lock")]:
        assert any(
            re.fullmatch(f"{name} [0-9a-f]{{12}}, the same as {file} here", x) for x in lines
        )
    for path, md5 in known.data.items():
        place = lines.index(f"{path} {md5}")
        assert lines[place + 1 : place + 3] == ["in the cache here", "in the remote storage"]
    accuracy = known.project.json("reports/metrics.json")["accuracy"]
    assert f"test/accuracy {accuracy!r}" in lines
    assert "image none: it was made outside of a container" in lines
    assert "seed 0" in lines


@pytest.mark.parametrize("what", ["runs/train/model.ckpt", "run", "HEAD"])
def test_checkpoint_run_and_revision_have_the_same_chain(known: Made, what: str) -> None:
    expected = known.lineage()[2:]
    lines = known.lineage(known.run if what == "run" else what)
    if what == "run":
        assert lines[0] == f"W&B run {known.run}, in wandb/ here"
        assert lines[1:] == expected
        return
    assert lines[1] == f"run {known.run}, in wandb/ here"
    assert lines[2:] == expected


def test_data_is_looked_for_in_each_remote(known: Made, tmp_path: Path) -> None:
    copy = known.copy(tmp_path)
    project, md5 = copy.project, copy.data["data/raw"]
    place = f"data/raw {md5}"
    storage = tmp_path / f"{project.path.name}-storage"
    backup = str(tmp_path / "backup")
    project.run("dvc", "remote", "add", "--local", "backup", backup)
    project.run("dvc", "push", "--remote", "backup", "fetch")
    shutil.rmtree(project.path / ".dvc/cache")

    def places() -> list[str]:
        lines = copy.lineage()
        return sorted(lines[lines.index(place) + 1 :][:3])

    has = ["in the remote backup", "in the remote storage"]
    assert places() == sorted([*has, "not in the cache here"])
    remove_objects(storage, md5)
    (storage / "files/md5").rename(storage / "gone")
    assert "not in the remote storage" in places()
    assert "in the remote backup" in places()
    files = json.loads((Path(backup) / "files/md5" / md5[:2] / md5[2:]).read_text())
    remove_objects(Path(backup), files[0]["md5"])
    total = len({file["md5"] for file in files}) + 1
    assert f"{total - 1} of {total} objects in the remote backup" in places()
    assert not (project.path / ".dvc/cache/files").exists()  # looking brings nothing here


def test_a_remote_that_cannot_be_reached_is_said_and_its_password_is_not(
    known: Made, tmp_path: Path
) -> None:
    copy = known.copy(tmp_path)
    url = f"webdav://127.0.0.1:{free_port()}/data"
    copy.project.run("dvc", "remote", "add", "--local", "far", url)
    for name, value in {"user": "me", "password": "hunter2"}.items():
        copy.project.run("dvc", "remote", "modify", "--local", "far", name, value)
    lines = copy.lineage()
    assert sum(line.startswith("the remote far cannot be asked: ") for line in lines) == 2
    assert "in the remote storage" in lines
    assert "hunter2" not in "".join(lines)


def test_what_is_not_here_is_said(known: Made, tmp_path: Path) -> None:
    copy = known.copy(tmp_path)
    (lost,) = copy.project.path.glob(f"wandb/offline-run-*-{copy.run}/files/code.patch")
    lost.unlink()
    unkept = "changes not known: they were not committed, and not kept with the run"
    assert unkept in copy.lineage()
    shutil.rmtree(copy.project.path / "wandb")
    shutil.rmtree(copy.project.path / ".git")
    copy.project.run("git", "init", "--quiet")
    (copy.project.path / "params.yaml").write_text("seed: 1\n")
    lines = copy.lineage()
    assert lines[1].endswith(f"/{copy.run}, not in wandb/ here")
    assert f"commit {copy.commit[:12]}, not in this repository" in "\n".join(lines)
    assert "changes not known: they are in code.patch of the run" in "\n".join(lines)
    assert "metrics not known: the run cannot be read here" in lines
    assert any(re.fullmatch(r"config \w{12}, not that of params.yaml here", x) for x in lines)


def test_an_uploaded_run_is_read_from_the_server(known: Made, tmp_path: Path) -> None:
    copy = known.copy(tmp_path)
    expected = copy.lineage()[2:]
    path = f"me/{copy.project.path.name}/{copy.run}"
    # As a training with tracking.entity=me writes it.
    named = f"""
import json, onnx
model = onnx.load({MODEL!r})
for entry in model.metadata_props:
    if entry.key == "provenance":
        found = json.loads(entry.value)
        found["run"]["path"] = {path!r}
        entry.value = json.dumps(found)
onnx.save(model, {MODEL!r})
"""
    copy.project.run("python", "-c", named)
    with Backend(tmp_path / "server") as backend:
        server = {"WANDB_BASE_URL": backend.url, "WANDB_API_KEY": backend.api_key}
        copy.project.inv("wandb.sync", variables=server)
        shutil.rmtree(copy.project.path / "wandb")
        of_run, of_file = copy.lineage(path, **server), copy.lineage(**server)
    assert of_run[0] == f"W&B run {copy.run}, in W&B"
    assert of_file[1] == f"run {path}, in W&B"
    position = expected.index("metrics")
    assert of_file[2:] == of_run[1:]
    assert of_file[2:][:position] == expected[:position]
    accuracy = copy.project.json("reports/metrics.json")["accuracy"]
    assert f"test/accuracy {accuracy!r}" in of_file
    (line,) = [line for line in copy.lineage(**server) if line.startswith("run ")]
    assert line.startswith(f"run {path}: {backend.url} can't be reached")


@pytest.fixture(scope="module")
def served(known: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    project = known.project.copy(tmp_path_factory.mktemp("lineage-served"))
    with serving(project, f"--models=digits={MODEL},other={MODEL}") as running:
        yield running


def test_what_is_served_has_the_chain_of_its_file(known: Made, served: Serving) -> None:
    expected = known.lineage()
    version = expected[0].partition(", version ")[2]
    lines = known.lineage(f"{served.url}/v2/models/digits")
    title = f"digits, version {version}, served at {served.url}/v2/models/digits"
    assert lines == [title, *expected[1:]]
    address = f"{served.url}/v2/models/digits/versions"
    assert known.lineage(f"{address}/{version}") == [f"{title}/versions/{version}", *expected[1:]]
    printed = known.project.inv("lineage", f"{address}/1", code=1)
    assert f"404 there is no version `1` of `digits`: version `{version}` is served" in printed
    both = known.lineage(served.url)
    assert both[: len(lines)] == lines
    other = title.replace("digits", "other")
    assert both[len(lines) :] == [other, *expected[1:]]


def test_a_model_service_by_itself_tells_the_same(known: Made, served: Serving) -> None:
    command = " ".join(served.services()[0].cmdline())
    (port,) = re.findall(r"--port=(\d+)", command)
    (line, *lines) = known.lineage(f"http://127.0.0.1:{port}")
    assert f"served at http://127.0.0.1:{port}/v2/models/" in line
    assert lines == known.lineage()[1:]


def test_each_answer_names_the_run(known: Made, served: Serving) -> None:
    (port,) = re.findall(r"--port=(\d+)", " ".join(served.services()[0].cmdline()))
    (listed,) = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models"))
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8], "data": IMAGE}
    content = json.dumps({"inputs": [tensor]}).encode()
    for address in (served.url, f"http://127.0.0.1:{port}"):
        url = f"{address}/v2/models/{listed['name']}/infer"
        with urllib.request.urlopen(url, content) as answer:
            assert answer.headers["x-model-run"] == known.run
            assert answer.headers["x-model-version"] == listed["version"]


def test_it_fits_eighty_columns_and_any_encoding(known: Made) -> None:
    narrow = {"COLUMNS": "80", "PYTHONIOENCODING": "ascii"}
    printed = known.project.inv("lineage", MODEL, variables=narrow)
    assert printed.isascii()
    assert max(map(len, printed.splitlines())) <= 80
    for path, md5 in known.data.items():
        assert f"{path} {md5}\n" in printed


@contextlib.contextmanager
def another_server() -> Iterator[str]:
    """A web server that has nothing to do with models."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<p>Welcome")

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("models/none.onnx", "there is no such file: inv train, or inv data.pull"),
        ("README.md", "no exported model or checkpoint"),
        ("nothing", "no run 'nothing'"),
        ("another-server", "what answers there has no provenance"),
        ("nobody", "it cannot be reached"),
        ("no-model", "it answered 404"),
    ],
)
def test_what_tells_nothing_is_one_line(
    known: Made, served: Serving, what: str, expected: str
) -> None:
    with another_server() as url:
        urls = {
            "another-server": url,
            "nobody": f"http://127.0.0.1:{free_port()}",
            "no-model": f"{served.url}/v2/models/none",
        }
        printed = known.project.inv("lineage", urls.get(what, what), code=1)
    (line,) = [line for line in printed.splitlines() if not line.startswith("$ ")]
    assert line.startswith("lineage: ")
    assert expected in line
