"""Measure the serving of a generated project, and write the table of README.md beside this file.

    inv bench --serving    about seven minutes; needs wrk and a Docker Engine

Every server has the same model, answers the same request of one image, and is asked in turn.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from measuring import ROOT, machine, script, seconds, table, write

PEERS = Path(__file__).with_name("peers.py")
LITSERVE = Path(__file__).with_name("peer_litserve.py")
CONNECTIONS = (1, 32, 256)
SECONDS = 4
SERVICE, FASTAPI = "the model service", "FastAPI + onnxruntime"
IMAGE = [0, 0, 0, 14, 14, 0, 0, 0] * 8
TENSOR = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8], "data": IMAGE}
PLAIN = json.dumps({"image": IMAGE})
PROTOCOL = json.dumps({"inputs": [TENSOR]})
MANY = 32  # images of a request, as many as the largest batch has requests
IN_BATCHES = f"the model service, {MANY} images a request"
MANY_BINARY = json.dumps(
    {
        "inputs": [
            {key: value for key, value in TENSOR.items() if key != "data"}
            | {"shape": [MANY, 8, 8], "parameters": {"binary_data_size": MANY * 64}}
        ],
        "parameters": {"binary_data_output": True},
    }
) + "\x01" * (MANY * 64)
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def port() -> int:
    """Return a port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(url: str, body: str, command: list[str], **options: object) -> Iterator[None]:
    """Run a server from its first right answer on."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )
    try:
        end = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(request(url, body), timeout=5).close()
                break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"it does not answer: {' '.join(command)}")
            time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def request(url: str, body: str) -> urllib.request.Request:
    return urllib.request.Request(url, body.encode(), {"content-type": "application/json"})


def load(url: str, body: str, connections: int, folder: Path) -> tuple[float, float, float]:
    """Return requests a second, and the median and the 99th percentile of the time, in ms.

    Raises:
        RuntimeError: an answer was an error.
    """
    script = folder / "post.lua"
    script.write_text(
        f"wrk.method = 'POST'; wrk.body = [[{body}]]; "
        "wrk.headers['Content-Type'] = 'application/json'",
        encoding="utf-8",
    )
    command = ["wrk", "--latency", "--threads=1", f"--connections={connections}", "--timeout=10s"]
    for duration in (2, SECONDS):  # the first warms it up
        done = subprocess.run(
            [*command, f"--duration={duration}s", f"--script={script}", url],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise RuntimeError(f"{url}, {connections} connections\n{done.stdout}")
    (rate,) = re.findall(r"Requests/sec:\s+([\d.]+)", done.stdout)
    times = dict(re.findall(r"^\s+(50|99)%\s+(\S+)\s*$", done.stdout, re.MULTILINE))
    median, late = (in_milliseconds(times[share]) for share in ("50", "99"))
    print(f"{float(rate):9,.0f}/s  {median:7.2f} ms  {late:7.2f} ms  {url}", file=sys.stderr)
    return float(rate), median, late


def in_milliseconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * MILLISECONDS[unit]


def measure(project: Path, folder: Path) -> dict[str, dict[int, tuple[float, float, float]]]:
    """Return what each server does, by its name and the number of connections."""
    python = script(project, "python")
    model = str(project / "models/model.onnx")
    service, web, deployed, fastapi, litserve = (port() for _ in range(5))
    ours = [python, "-m", "workflow.serving.service"]
    peers = ["uv", "run", "--no-project", "--isolated", "--python", python]
    peers += ["--with=fastapi,litserve,numpy,onnxruntime,uvicorn", "python"]

    def infer(number: int) -> str:
        return f"http://127.0.0.1:{number}/v2/models/model/infer"

    def predict(number: int) -> str:
        return f"http://127.0.0.1:{number}/predict"

    servers = {
        SERVICE: (infer(service), PROTOCOL),
        IN_BATCHES: (infer(service), MANY_BINARY),
        "… through the web application": (infer(web), PROTOCOL),
        "… in a container, through the proxy": (infer(deployed), PROTOCOL),
        FASTAPI: (predict(fastapi), PLAIN),
        "LitServe": (predict(litserve), PLAIN),
    }
    addresses = {**os.environ, "MODELS": f"model=http://127.0.0.1:{service}"}
    with contextlib.ExitStack() as stack:
        command = [*ours, f"--port={service}", "--address=127.0.0.1"]
        stack.enter_context(running(infer(service), PROTOCOL, command, cwd=project))
        command = [python, "-m", "workflow.serving.web", f"--port={web}"]
        stack.enter_context(running(infer(web), PROTOCOL, command, cwd=project, env=addresses))
        stack.callback(seconds, "uv", "run", "inv", "deploy.down", folder=project)
        seconds("uv", "run", "inv", "deploy.up", f"--port={deployed}", folder=project)
        command = [*peers, str(PEERS), "fastapi", model, str(fastapi)]
        stack.enter_context(running(predict(fastapi), PLAIN, command))
        command = [*peers, str(LITSERVE), model, str(litserve)]
        stack.enter_context(running(predict(litserve), PLAIN, command))
        return {
            name: {number: load(url, body, number, folder) for number in CONNECTIONS}
            for name, (url, body) in servers.items()
        }


def limit(project: Path) -> float:
    """Return the images a second of onnxruntime alone, in batches of 32 on one thread."""
    command = [script(project, "python"), str(PEERS), "bare", "models/model.onnx", "0"]
    done = subprocess.run(command, cwd=project, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not installed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        project = folder / "served"
        seconds("uv", "run", "inv", "demo", "--folder", str(project), folder=ROOT)
        bare = limit(project)
        results = measure(project, folder)
    fastapi = results[FASTAPI]
    rows = [
        [
            name,
            str(number),
            f"{rate:,.0f}",
            f"{rate / fastapi[number][0]:.1f}",
            f"{median:.2f}",
            f"{late:.2f}",
        ]
        for name, measured in results.items()
        for number, (rate, median, late) in measured.items()
    ]
    head = ["server", "connections", "requests/s", "of FastAPI", "p50, ms", "p99, ms"]
    most = max(rate for rate, _, _ in results[SERVICE].values())
    most_in_batches = MANY * max(rate for rate, _, _ in results[IN_BATCHES].values())
    text = (
        f"{machine()}; onnxruntime alone, batches of {MANY}: {bare:,.0f} images/s, of which the "
        f"service answers {most / bare:.0%} with an image a request, and "
        f"{most_in_batches / bare:.0%} with {MANY}, as binary tensors"
    )
    write("serving", f"{text}\n\n{table(head, rows)}")


if __name__ == "__main__":
    main()
