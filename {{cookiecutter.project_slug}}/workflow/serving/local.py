"""Serving on this machine: a service for each model, and the web application in front of them.

    python -m workflow.serving.local --models model=models/model.onnx --port 8000

A model's service restarts when its file has changed. Ctrl-C stops everything. A registered
version, such as model=model#production, is the file that it was when this started.
"""

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CommandError
from ..paths import DEPLOYED_MODELS
from ..ports import require_free
from ..registry import versions
from . import starter
from .model import load

LOOPBACK = "127.0.0.1"
LOOK_SECONDS = 0.5


@dataclass
class Service:
    """The service of one model."""

    name: str
    file: Path
    port: int
    process: subprocess.Popen[bytes] = field(init=False)
    started_from: float = field(init=False)

    def start(self) -> None:
        self.started_from = self.file.stat().st_mtime
        variables = {"MODEL_NAME": self.name, "MODEL_FILE": str(self.file)}
        options = (f"--address={LOOPBACK}", f"--port={self.port}")
        self.process = start("service", *options, **variables)

    def restart_if_changed(self) -> None:
        """Replace the service when a new file is there that can be served."""
        if not self.file.exists() or self.file.stat().st_mtime == self.started_from:
            return
        try:
            version = load(self.name, self.file).version
        except CommandError as error:
            print(f"serve: the old version stays: {error}", flush=True)
            self.started_from = self.file.stat().st_mtime
            return
        end(self.process)
        self.start()
        print(f"serve: {self.name} is version {version} now", flush=True)


def start(module: str, *options: str, **variables: str) -> subprocess.Popen[bytes]:
    """Start a module of this package, which ends when this process has gone."""
    # A browser keeps its connection, and Ctrl-C is not to wait for that.
    command = [sys.executable, "-m", f"{__package__}.{module}", "--drain=0", *options]
    # In a session of its own: Ctrl-C reaches this process alone, which ends the others in order.
    return subprocess.Popen(
        command,
        env={**os.environ, starter.VARIABLE: "1", **variables},
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process; one that serves answers first what it was asked."""
    process.terminate()
    process.wait()


def serve(models: dict[str, Path], port: int) -> int:
    """Serve models at a port of the loopback until Ctrl-C or until a process ends by itself.

    Returns:
        The exit code: 0 after Ctrl-C.
    """
    services = [Service(name, file, free_port()) for name, file in models.items()]
    addresses = ",".join(f"{s.name}=http://{LOOPBACK}:{s.port}" for s in services)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    starter.watch()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for service in services:
            service.start()
            processes.append(service.process)
        web = start("web", f"--address={LOOPBACK}", f"--port={port}", MODELS=addresses)
        processes.append(web)
        if ready(port, processes):
            for service in services:
                url = f"http://{LOOPBACK}:{service.port}/metrics"
                print(f"serve: {service.name}: metrics for Prometheus: {url}", flush=True)
            print(f"serve: http://{LOOPBACK}:{port} (Ctrl-C stops it)", flush=True)
        while all(process.poll() is None for process in processes):
            time.sleep(LOOK_SECONDS)
            for service in services:
                service.restart_if_changed()
            processes = [*(service.process for service in services), web]
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        for process in reversed(processes):
            end(process)


def ready(port: int, processes: list[subprocess.Popen[bytes]]) -> bool:
    """Wait until every model can be asked, or, which is False, a process has ended."""
    url = f"http://{LOOPBACK}:{port}/v2/health/ready"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # proxies are for others
    while all(process.poll() is None for process in processes):
        try:
            opener.open(url, timeout=5).close()
            return True
        except OSError:
            time.sleep(0.1)
    return False


def free_port() -> int:
    """Return a port of the loopback where nobody listens."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def parse(models: str) -> dict[str, Path]:
    """Return the file of each model of "name=file,name=model#stage".

    Raises:
        CommandError: it is written otherwise, or a file cannot be served.
    """
    files = {}
    for part in models.split(","):
        name, separator, source = part.partition("=")
        if not separator or not re.fullmatch(r"[\w.-]+", name):
            raise CommandError(f"{part!r}: write NAME=FILE, such as model=models/model.onnx")
        files[name] = find(part, source)
        load(name, files[name])
    return files


def find(argument: str, source: str) -> Path:
    """Return the file of "name=source"; that of a registered version is fetched.

    Raises:
        CommandError: there is no such version, or nobody has its file.
    """
    if not versions.NOTATION.fullmatch(source):
        return Path(source)
    from . import sources  # with DVC, which a file does not need

    return sources.fetch(argument, DEPLOYED_MODELS).file


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", required=True, help="NAME=FILE, more of them behind commas")
    parser.add_argument("--port", type=int, default=8000, help="of the web application")
    arguments = parser.parse_args()
    try:
        require_free(arguments.port)
        models = parse(arguments.models)
    except CommandError as error:
        raise SystemExit(f"serve: {error}") from None
    return serve(models, arguments.port)


if __name__ == "__main__":
    raise SystemExit(main())
