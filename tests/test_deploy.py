"""Deployments on this machine: real containers behind the real proxy, changed while they answer."""

from __future__ import annotations

import collections
import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from browsing import draw, expect
from driving import Project
from engine import answer, docker, free_port, inspect, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.docker]

SLUG = "image-tests"
CLIENTS = 6
TITLE = "org.opencontainers.image.title"
ONE = [[0, 0, 0, 12, 14, 0, 0, 0]] * 8


def infer_body(**more: Any) -> bytes:
    """A request for one image."""
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8], "data": ONE}
    return json.dumps({"inputs": [tensor], **more}).encode()


@dataclass
class Answer:
    """What came back for a request; the names of headers are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def version(self) -> str:
        return self.headers["x-model-version"]

    @property
    def error(self) -> str:
        return json.loads(self.body)["error"]


@dataclass
class Deployed:
    """A project, and where it is deployed."""

    project: Project
    port: int

    def up(self, *options: str, code: int = 0, **variables: str) -> str:
        return self.project.inv("deploy.up", *options, code=code, variables=variables)

    def ask(
        self, path: str, body: bytes | None = None, method: str = "POST", **headers: str
    ) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, named)
            got = connection.getresponse()
            heads = {name.lower(): value for name, value in got.getheaders()}
            return Answer(got.status, heads, got.read())

    def infer(self, model: str = "cnn", body: bytes | None = None, **headers: str) -> Answer:
        sent = infer_body() if body is None else body
        return self.ask(f"/v2/models/{model}/infer", sent, **headers)

    def get(self, path: str) -> Any:
        return json.loads(self.ask(path, method="GET").body)

    def containers(self, *filters: str) -> list[str]:
        """The names of the containers that run."""
        folder = hashlib.sha256(str(self.project.path).encode()).hexdigest()[:8]
        own = f"label=com.docker.compose.project={SLUG}-{folder}"
        chosen = [f"--filter={item}" for item in (own, *filters)]
        return sorted(docker("ps", "--format={{.Names}}", *chosen).split())

    def replicas(self, model: str = "cnn") -> list[str]:
        """The names of the containers of a model."""
        return [name for name in self.containers() if f"-{model}-" in name]

    def version(self, file: str) -> str:
        """The version that a model's file has."""
        return hashlib.sha256((self.project.path / file).read_bytes()).hexdigest()[:12]

    def log(self) -> list[dict[str, Any]]:
        """The lines of the proxy's log."""
        (proxy,) = [name for name in self.containers() if "-proxy-" in name]
        printed = docker("logs", proxy).splitlines()
        return [json.loads(line) for line in printed if line.startswith("{")]


@dataclass
class Load:
    """What clients saw who asked all the time; `answers` counts status and version."""

    answers: collections.Counter[tuple[int, str]] = field(default_factory=collections.Counter)
    failures: list[str] = field(default_factory=list)

    def versions(self) -> dict[str, int]:
        return {version: count for (_, version), count in self.answers.items()}


@contextlib.contextmanager
def load(deployed: Deployed, clients: int = CLIENTS) -> Iterator[Load]:
    """Clients who ask for the model `cnn` as long as this lasts; each keeps its connection."""
    seen, over = Load(), threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", deployed.port, timeout=30)
        while not over.is_set():
            try:
                connection.request("POST", "/v2/models/cnn/infer", infer_body())
                got = connection.getresponse()
                got.read()
                seen.answers[got.status, got.headers["x-model-version"]] += 1
            except (OSError, http.client.HTTPException) as error:
                seen.failures.append(repr(error))
                connection.close()
            time.sleep(0.02)  # the machine is to build and start containers meanwhile

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    until(lambda: seen.answers.total() > 20)
    try:
        yield seen
        before = seen.answers.total()
        until(lambda: seen.answers.total() > before + 20)
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module")
def made(
    for_images: Project,
    trained: Project,
    trained_sklearn: Project,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployed]:
    """A project with two models of others, cnn.onnx and linear.onnx, deployed from there."""
    project = for_images.copy(tmp_path_factory.mktemp("deploy"))
    for name, trained_there in (("cnn", trained), ("linear", trained_sklearn)):
        shutil.copy(trained_there.path / "models/model.onnx", project.path / f"{name}.onnx")
    deployed = Deployed(project, free_port())
    models = "--models=cnn=cnn.onnx,linear=linear.onnx"
    try:
        deployed.up(models, "--scale=3", f"--port={deployed.port}")
        yield deployed
    finally:
        project.inv("deploy.down")
        images = docker("image", "ls", "--quiet", f"--filter=label={TITLE}={SLUG}").split()
        docker("image", "rm", "--force", *set(images))


@pytest.fixture
def deployed(made: Deployed) -> Deployed:
    """The same with two replicas of each, and as it was at first, whatever came before."""
    state = made.project.json(".deploy/state.json")
    found = {
        name: (model["stable"]["source"], model["canary"])
        for name, model in state["models"].items()
    }
    wanted = {"cnn": ("cnn.onnx", None), "linear": ("linear.onnx", None)}
    if (found, state["scale"]) != (wanted, 2) or not made.containers():
        made.up("--models=cnn=cnn.onnx,linear=linear.onnx", "--scale=2")
    return made


def second(deployed: Deployed, name: str = "second.onnx") -> str:
    """Write another version of the model cnn, and return it."""
    script = (
        "import onnx; model = onnx.load('cnn.onnx'); entry = model.metadata_props.add();"
        f"entry.key, entry.value = 'note', '{name}'; onnx.save(model, '{name}')"
    )
    deployed.project.run("python", "-c", script)
    return deployed.version(name)


def test_two_models_with_three_replicas_answer_behind_one_address(made: Deployed) -> None:
    assert len(made.replicas("cnn")) == len(made.replicas("linear")) == 3
    for name in ("cnn", "linear"):
        found = {made.infer(name).version for _ in range(6)}
        assert found == {made.version(f"{name}.onnx")}
    asked = [line for line in made.log() if line["path"] == "/v2/models/cnn/infer"]
    assert len({line["container"] for line in asked[-6:]}) == 3
    listed = {model["name"]: model["version"] for model in made.get("/v2/models")}
    assert listed == {name: made.version(f"{name}.onnx") for name in ("cnn", "linear")}
    status = made.project.inv("deploy.status")
    for name in ("cnn", "linear"):
        (row,) = [line for line in status.splitlines() if f"{name}.onnx" in line]
        assert made.version(f"{name}.onnx") in row
        assert "3 of 3 up" in row


def test_a_digit_drawn_in_the_browser_gets_its_class(
    made: Deployed, browser: Browser, tmp_path: Path
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"http://127.0.0.1:{made.port}/")
    page.wait_for_selector("#gallery button")
    draw(page, (0.5, 0.15), (0.5, 0.85))
    expect(page.locator(".verdict strong")).to_have_count(2)
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    verdicts = page.locator(".verdict strong").all_inner_texts()
    assert verdicts == ["1", "1"]  # of both models
    facts = page.locator(".facts").all_inner_texts()
    for name, fact in zip(("cnn", "linear"), facts, strict=True):
        assert made.version(f"{name}.onnx") in fact
    page.close()


def test_containers_may_use_so_much_and_no_more(made: Deployed) -> None:
    conf = yaml.safe_load((made.project.path / "conf/serving/default.yaml").read_text("utf-8"))
    machine = int(docker("info", "--format={{.NCPU}}"))
    limits = {
        "web": (conf["web_memory_mb"], 1),
        "proxy": (1024, 1),
        "cnn": (conf["memory_mb"], min(conf["threads"] + 1, machine)),
        "linear": (conf["memory_mb"], min(conf["threads"] + 1, machine)),
    }
    seen = set()
    for name in made.containers():
        found = inspect(name)["HostConfig"]
        (kind,) = {kind for kind in limits if f"-{kind}-" in name}
        memory_mb, processors = limits[kind]
        assert found["Memory"] == memory_mb * 2**20, name
        assert found["NanoCpus"] == processors * 10**9, name
        assert found["PidsLimit"] == 512, name
        assert found["Tmpfs"] == {"/tmp": "size=64m,mode=1777"}, name
        seen.add(kind)
    assert seen == set(limits)


def test_containers_can_write_nothing_and_are_nobody(made: Deployed) -> None:
    for name in made.containers():
        found = inspect(name)
        assert found["HostConfig"]["ReadonlyRootfs"], name
        assert found["HostConfig"]["CapDrop"] == ["ALL"]
        assert found["Config"]["User"] not in ("", "0", "root")
        published = filter(None, found["NetworkSettings"]["Ports"].values())
        bound = {ports[0]["HostIp"] for ports in published}
        assert bound <= {"127.0.0.1"}


def test_scaling_up_and_down_loses_no_request(deployed: Deployed) -> None:
    deployed.up("--scale=1")
    with load(deployed) as seen:
        deployed.up("--scale=3")
        assert len(deployed.replicas()) == 3
        deployed.up("--scale=1")
        assert len(deployed.replicas()) == 1
    assert seen.failures == []
    assert {status for status, _ in seen.answers} == {200}


def test_promotion_canary_and_rollback_lose_no_request(deployed: Deployed) -> None:
    first, other = deployed.version("cnn.onnx"), second(deployed)
    with load(deployed) as seen:
        deployed.project.inv("deploy.promote", "cnn", "--source=second.onnx")
        assert {deployed.infer().version for _ in range(4)} == {other}
        deployed.project.inv("deploy.rollback", "cnn")
        assert {deployed.infer().version for _ in range(4)} == {first}
    assert seen.failures == []
    assert set(seen.answers) == {(200, first), (200, other)}
    printed = deployed.project.inv("deploy.promote", "cnn", "--source=second.onnx", "--weight=25")
    assert f"{first} gets 75 %, {other} gets 25 %" in printed
    answers = collections.Counter(deployed.infer().version for _ in range(40))
    assert answers == {first: 30, other: 10}
    for version in (first, other):  # whatever the weights
        path = f"/v2/models/cnn/versions/{version}"
        assert {deployed.ask(f"{path}/infer", infer_body()).version for _ in range(6)} == {version}
        assert all(deployed.get(path)["versions"] == [version] for _ in range(6))
        assert deployed.get(f"{path}/ready") == {"name": "cnn", "ready": True}
    for path in ("/infer", "/ready", ""):
        method = "POST" if path == "/infer" else "GET"
        unknown = deployed.ask(f"/v2/models/cnn/versions/1{path}", infer_body(), method)
        assert unknown.status == 404
        assert "there is no version `1` of `cnn`" in unknown.error
    with load(deployed) as seen:
        deployed.project.inv("deploy.rollback", "cnn")  # of the canary
        assert {deployed.infer().version for _ in range(4)} == {first}
        deployed.project.inv("deploy.promote", "cnn", "--source=second.onnx", "--weight=25")
        deployed.project.inv("deploy.promote", "cnn")  # the canary to all
        assert {deployed.infer().version for _ in range(4)} == {other}
        assert len(deployed.replicas()) == 2
        deployed.project.inv("deploy.rollback", "cnn")
        assert {deployed.infer().version for _ in range(4)} == {first}
    assert seen.failures == []
    assert set(seen.answers) == {(200, first), (200, other)}


def test_requests_are_counted_over_changes_and_a_canary_is_identified_by_its_run(
    deployed: Deployed,
) -> None:
    def shown() -> dict[str, tuple[int, str]]:
        """The requests and the source of each version of the model cnn."""
        printed = deployed.project.inv("deploy.status").splitlines()
        rows = [[cell.strip() for cell in line.split("│")] for line in printed if "│ cnn" in line]
        return {row[2]: (int(row[5]), row[7]) for row in rows}

    file = deployed.project.path / "same.onnx"
    first, other = (deployed.version(name) for name in ("cnn.onnx", "linear.onnx"))
    shutil.copy(deployed.project.path / "cnn.onnx", file)
    deployed.up("--models=cnn=same.onnx,linear")
    before = shown()[first][0]
    for _ in range(10):
        deployed.infer()
    shutil.copy(deployed.project.path / "linear.onnx", file)
    deployed.project.inv("deploy.promote", "cnn", "--weight=25")
    assert {version: count for version, (count, _) in shown().items()} == {
        first: before + 10,
        other: 0,
    }
    for _ in range(8):
        deployed.infer()
    deployed.project.inv("deploy.down")
    deployed.up("--scale=1")
    after = shown()
    assert (after[first][0], after[other][0]) == (before + 16, 2)
    runs = [re.fullmatch(r"same\.onnx \(run (\w+)\)", source) for _, source in after.values()]
    assert len({found[1] for found in runs if found}) == 2
    deployed.project.inv("deploy.rollback", "cnn")


def test_another_model_and_new_code_lose_no_request(deployed: Deployed) -> None:
    images = {inspect(name)["Image"] for name in deployed.replicas()}
    service = deployed.project.path / "workflow/serving/service.py"
    code = service.read_text("utf-8")
    service.write_text(f"{code}# changed\n", encoding="utf-8")
    try:
        with load(deployed) as seen:
            deployed.up("--models=cnn,third=linear.onnx")
            assert {model["name"] for model in deployed.get("/v2/models")} == {"cnn", "third"}
            assert deployed.infer("third").version == deployed.version("linear.onnx")
            assert deployed.infer("linear").status == 404
    finally:
        service.write_text(code, encoding="utf-8")
    assert seen.failures == []
    assert {status for status, _ in seen.answers} == {200}
    assert images.isdisjoint(inspect(name)["Image"] for name in deployed.replicas())


def test_a_commit_that_changes_nothing_replaces_no_container(deployed: Deployed) -> None:
    before = {name: inspect(name)["Id"] for name in deployed.containers()}
    folder = deployed.project.path
    (folder / "README.md").open("a").write("More.\n")
    for file in ("deploy/compose.yaml", "deploy/haproxy.cfg.jinja"):
        (folder / file).open("a").write("# more\n")
    committing = ("commit", "--all", "--quiet", "--no-verify", "--message=Nothing that runs")
    deployed.project.run("git", *committing)  # without the models in its folder
    deployed.up()
    assert {name: inspect(name)["Id"] for name in deployed.containers()} == before


def test_a_lost_replica_comes_back_and_is_not_noticed(deployed: Deployed) -> None:
    lost = deployed.replicas()[0]
    with load(deployed) as seen:
        os.kill(inspect(lost)["State"]["Pid"], signal.SIGKILL)
        until(lambda: inspect(lost)["RestartCount"] == 1)
        until(lambda: inspect(lost)["State"]["Health"]["Status"] == "healthy")
    # An answer that has begun cannot be asked for again elsewhere: one of each client at most.
    assert len(seen.failures) <= CLIENTS
    assert {status for status, _ in seen.answers} == {200}
    until(lambda: "2 of 2 up" in deployed.project.inv("deploy.status", code=0))


def test_docker_stop_answers_what_was_taken(deployed: Deployed) -> None:
    stopped = deployed.replicas()[0]
    with load(deployed) as seen:
        docker("stop", stopped)
        assert inspect(stopped)["State"]["ExitCode"] == 0
        assert "1 of 2 up" in deployed.project.inv("deploy.status", code=1)
        docker("start", stopped)
        until(lambda: inspect(stopped)["State"]["Health"]["Status"] == "healthy")
    assert seen.failures == []
    assert {status for status, _ in seen.answers} == {200}


def test_what_the_proxy_refuses_and_adds(deployed: Deployed) -> None:
    given = deployed.infer(x_request_id="from-a-client")
    assert given.headers["x-request-id"] == "from-a-client"
    made_up = deployed.infer(x_request_id="<script>")
    assert re.fullmatch(r"[0-9a-f-]{36}", made_up.headers["x-request-id"])
    (line,) = [line for line in deployed.log() if line["request_id"] == "from-a-client"]
    assert line["status"] == 200
    assert line["container"].startswith(f"{deployed.version('cnn.onnx')}_cnn-")
    for body, status, error in [
        (b"", 400, "the body is empty"),
        (b"{", 400, "the body is no request in JSON"),
        (infer_body().replace(b"UINT8", b"FP32"), 400, "`images` is UINT8, not FP32"),
        (bytes(5_000_000), 413, "the body is larger than 4194304 bytes"),
    ]:
        refused = deployed.infer(body=body)
        assert refused.status == status
        assert error in refused.error
        assert "x-request-id" in refused.headers
    assert deployed.infer("nobody").error == "there is no model `nobody`"
    assert deployed.ask("/metrics", method="GET").status == 404
    outputs = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    binary = deployed.infer(body=infer_body(outputs=outputs))
    length = int(binary.headers["inference-header-content-length"])
    assert len(binary.body) - length == 10 * 4  # float32
    assert binary.version == deployed.version("cnn.onnx")
    with socket.create_connection(("127.0.0.1", deployed.port), timeout=30) as slow:
        slow.sendall(b"POST /v2/models/cnn/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_full_queue_is_refused_at_once_and_says_when_to_come_again(
    deployed: Deployed, tmp_path: Path
) -> None:
    conf = deployed.project.path / "conf/serving/default.yaml"
    before = conf.read_text("utf-8")
    conf.write_text(re.sub("(?m)^(capacity|max_batch_size): [0-9]+", r"\1: 1", before), "utf-8")
    try:
        deployed.up("--scale=1")
        answers: list[Answer] = []
        body = json.loads(infer_body())
        body["inputs"][0] |= {"shape": [2000, 8, 8], "data": ONE * 2000}
        sent = json.dumps(body).encode()
        threads = [
            threading.Thread(target=lambda: answers.append(deployed.infer(body=sent)))
            for _ in range(24)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        conf.write_text(before, encoding="utf-8")
    refused = [answer for answer in answers if answer.status != 200]
    assert {answer.status for answer in refused} == {429}
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    assert refused[0].error == "too many requests wait for `cnn`"
    assert len(refused) < len(answers)


def test_what_cannot_be_deployed_is_one_line_and_changes_nothing(deployed: Deployed) -> None:
    project = deployed.project
    (project.path / "broken.onnx").write_bytes(b"no model")
    template = project.path / "deploy/haproxy.cfg.jinja"
    config = template.read_text("utf-8")
    before = (deployed.containers(), project.json(".deploy/state.json"))
    second(deployed, "next.onnx")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for task, options, error in [
            ("up", ["--models=cnn=broken.onnx"], "broken.onnx: "),
            ("up", ["--models=cnn=gone.onnx"], "gone.onnx"),
            ("up", ["--models=other"], "other is not deployed (cnn, linear is): write other=FILE"),
            ("up", ["--models=A_b=cnn.onnx"], "A_b"),
            ("up", ["--scale=0"], "at least one replica"),
            ("up", [f"--port={taken.getsockname()[1]}"], "is taken: choose another with --port"),
            ("promote", ["other"], "other is not deployed: choose one of cnn, linear"),
            ("promote", ["cnn"], f"is version {deployed.version('cnn.onnx')} already"),
            ("promote", ["cnn", "--source=next.onnx", "--weight=100"], "1 to 99 percent"),
        ]:
            printed = project.inv(f"deploy.{task}", *options, code=1)
            (line,) = [
                line for line in printed.splitlines() if line.startswith(("deploy: ", "docker: "))
            ]
            assert error in line, line
    template.write_text(f"{config}\nnonsense\n", encoding="utf-8")
    try:
        printed = project.inv("deploy.promote", "cnn", "--source=next.onnx", code=1)
    finally:
        template.write_text(config, encoding="utf-8")
    (line,) = [line for line in printed.splitlines() if line.startswith("deploy: ")]
    assert "nothing has changed: deploy/haproxy.cfg.jinja: " in line
    assert "nonsense" in line
    assert (deployed.containers(), project.json(".deploy/state.json")) == before
    assert deployed.infer().status == 200


def test_a_container_that_does_not_answer_changes_nothing(deployed: Deployed) -> None:
    service = deployed.project.path / "workflow/serving/service.py"
    code = service.read_text("utf-8")
    before = deployed.containers()
    service.write_text("raise SystemExit('on purpose')\n", encoding="utf-8")
    try:
        with load(deployed) as seen:
            printed = deployed.up(code=1)
    finally:
        service.write_text(code, encoding="utf-8")
    (line,) = [line for line in printed.splitlines() if line.startswith("deploy: ")]
    assert re.search(r"nothing has changed: .* does not answer \(on purpose\)", line)
    assert deployed.containers() == before
    assert seen.failures == []
    assert {status for status, _ in seen.answers} == {200}


def test_a_model_with_too_little_memory_says_so_and_changes_nothing(deployed: Deployed) -> None:
    before = deployed.containers()
    printed = deployed.up(code=1, SERVING_MEMORY_MB="24")
    assert re.search(
        r"deploy: nothing has changed: (cnn|linear)-\S+ does not answer \(out of memory: raise "
        r"memory_mb or web_memory_mb in conf/serving/\)$",
        printed,
    )
    assert deployed.containers() == before
    assert deployed.infer().status == 200


def test_what_was_deployed_comes_up_again(deployed: Deployed) -> None:
    other = second(deployed)
    deployed.project.inv("deploy.promote", "cnn", "--source=second.onnx")
    before = deployed.containers()
    (deployed.project.path / "second.onnx").unlink()  # containers read a copy
    third = second(deployed, "third.onnx")
    deployed.project.interrupt(
        *("inv", "deploy.promote", "cnn", "--source=third.onnx"),
        when="--remove-orphans",  # the proxy asks the new containers by then
        how=lambda process: os.killpg(process.pid, signal.SIGKILL),
    )
    assert deployed.infer().version == third
    assert "interrupted" in deployed.project.inv("deploy.status", code=1)
    deployed.project.inv("deploy.rollback", "cnn")
    assert deployed.infer().version == other
    assert deployed.containers() == before
    with socket.create_connection(("127.0.0.1", deployed.port)) as asking:
        asking.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        while asking.recv(65536):  # the other side closes first, so its port is in TIME_WAIT then
            pass
    deployed.project.inv("deploy.down")
    assert deployed.containers() == []
    assert answer(f"http://127.0.0.1:{deployed.port}/") is None
    assert "nothing runs" in deployed.project.inv("deploy.status", code=1)
    deployed.up()
    assert deployed.containers() == before
    assert deployed.infer().version == other
    assert '"path": "/v2/models/cnn/infer"' in deployed.project.inv("deploy.logs")
