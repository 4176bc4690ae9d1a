"""The proxy: a new config without a lost request, and its metrics."""

import csv
import io
import re
import time
import urllib.request

import docker
from docker.models.containers import Container

from ..errors import CommandError
from . import render, state
from .state import Deployment, Release

START_SECONDS = 20


def write(deployment: Deployment) -> str:
    """Write the config for a deployment, and return its revision."""
    text, revision = render.proxy_config(deployment)
    state.write(render.PROXY_FILE, text)
    return revision


def reload(proxy: Container, deployment: Deployment) -> None:
    """Put the config for a deployment in force.

    Returns when the old one has answered what it had taken.

    Raises:
        CommandError: the proxy does not take the new config; the old one stays in force.
    """
    before = render.PROXY_FILE.read_text("utf-8")
    revision = write(deployment)
    code, printed = proxy.exec_run(["haproxy", "-c", "-f", "/etc/deploy/haproxy.cfg"])
    if code:
        state.write(render.PROXY_FILE, before)
        assert isinstance(printed, bytes)  # no stream was asked for
        lines = printed.decode(errors="replace").splitlines()
        alert = next(line for line in lines if "[ALERT]" in line)
        raise CommandError(f"deploy/haproxy.cfg.jinja: {alert}")
    if live_revision(proxy) == revision:
        return
    proxy.kill("SIGUSR2")
    _wait(proxy, revision)
    # The old worker leaves when its last connection has ended.
    end = time.monotonic() + render.DRAIN_SECONDS + 5
    while len(proxy.top()["Processes"]) > 2 and time.monotonic() < end:
        time.sleep(0.1)


def wait_for(client: docker.DockerClient, project: str, revision: str) -> None:
    """Wait until the proxy that has just started answers with a config.

    Raises:
        CommandError: it does not.
    """
    proxy = find(client, project)
    if proxy is None:
        raise CommandError("the proxy stopped: check deploy/haproxy.cfg.jinja")
    _wait(proxy, revision)


def live_revision(proxy: Container) -> str | None:
    """Return the revision of the config that is in force; None if the proxy does not answer."""
    try:
        return _get(proxy, "revision").decode()
    except OSError:
        return None


def servers(proxy: Container, name: str, release: Release) -> list[dict[str, str]]:
    """Return the proxy's metrics of each replica of a model's release."""
    server = f"{release.version}_"
    return [
        row
        for row in rows(proxy)
        if row["pxname"] == f"model-{name}" and row["svname"].startswith(server)
    ]


def rows(proxy: Container) -> list[dict[str, str]]:
    """Return the proxy's metrics of each replica of each model.

    The keys are those of HAProxy's statistics, such as `status`, `stot`, `hrsp_5xx`.
    """
    text = _get(proxy, "stats;csv").decode().removeprefix("# ")
    return [
        row
        for row in csv.DictReader(io.StringIO(text))
        if row["pxname"].startswith("model-") and "_" in row["svname"]
    ]


def worker(proxy: Container) -> str:
    """Return when the proxy's worker started: each worker counts from zero."""
    text = _get(proxy, "metrics?scope=global").decode()
    started = re.search(r"^haproxy_process_start_time_seconds (\S+)$", text, re.MULTILINE)
    assert started, "HAProxy's exporter has it"
    return started[1]


def find(client: docker.DockerClient, project: str) -> Container | None:
    """Return the proxy's container, if it runs."""
    labels = [f"com.docker.compose.project={project}", "com.docker.compose.service=proxy"]
    running = client.containers.list(filters={"label": labels, "status": "running"})
    return running[0] if running else None


def _wait(proxy: Container, revision: str) -> None:
    end = time.monotonic() + START_SECONDS
    while live_revision(proxy) != revision:
        if time.monotonic() > end:
            raise CommandError("the proxy refuses deploy/haproxy.cfg.jinja")
        time.sleep(0.1)


def _get(proxy: Container, path: str) -> bytes:
    proxy.reload()
    ports = proxy.ports.get(f"{render.METRICS_PORT}/tcp") or []
    if not ports:
        raise ConnectionError("the port is not published yet")
    address = f"http://{ports[0]['HostIp']}:{ports[0]['HostPort']}/{path}"
    with urllib.request.urlopen(address, timeout=5) as answer:
        return bytes(answer.read())
