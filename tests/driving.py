"""Use generated projects as people do: through `uv run inv`, with real tools.

Projects of one framework have one lock: those of one Python share an environment, in build/.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
from baking import ROOT, bake, workspace
from filelock import FileLock

from tasks import extras

# Projects are driven on the Python that runs the tests; CI has a job for each.
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
FRAMEWORK = "pytorch"  # the default answer
# What a project is driven with, whatever the defaults of a fork's team: nothing elsewhere.
PLAIN = {"framework": FRAMEWORK, "dvc_remote": "local", "wandb_entity": ""}
UV = os.environ.get("UV") or shutil.which("uv") or "uv"
RESULTS = ("runs/train/metrics.json", "runs/train/history.csv", "reports/metrics.json")


@functools.cache
def environment(python: str, framework: str = FRAMEWORK) -> dict[str, str]:
    """Environment variables of a user with an empty home folder, and this Python."""
    cache = subprocess.run([UV, "cache", "dir"], capture_output=True, text=True, check=True)
    home = workspace() / "home"
    home.mkdir(exist_ok=True)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WANDB_", "DVC_", "GIT_", "VIRTUAL_ENV", "PYTEST_", "PYTHONDONT"))
    }
    return {
        **inherited,
        "HOME": str(home),
        "UV_CACHE_DIR": cache.stdout.strip(),
        "UV_PROJECT_ENVIRONMENT": str(ROOT / "build" / f"environment-{framework}-{python}"),
        "UV_PYTHON": python,
        "MYPY_CACHE_DIR": str(ROOT / "build" / f"mypy-{framework}-{python}"),
        "COLUMNS": "120",
    }


@functools.cache
def interpreter(python: str, framework: str = FRAMEWORK) -> Path:
    """The Python of the shared environment, with everything that the lock names."""
    project = bake(project_name="shared environment", framework=framework).path
    command = [UV, "sync", "--locked", "--all-groups", *extras(framework)]
    variables = environment(python, framework)
    folder = Path(variables["UV_PROJECT_ENVIRONMENT"])
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # several processes run tests at once
        subprocess.run(command, cwd=project, env=variables, check=True)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@dataclass(frozen=True)
class Project:
    """A generated project that is set up: in Git, with its environment.

    Args:
        variables: of every command that is run in it.
    """

    path: Path
    python: str = PYTHON
    framework: str = FRAMEWORK
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        """The environment variables of its user."""
        return {**environment(self.python, self.framework), **self.variables}

    def copy(self, target: Path) -> Project:
        """Copy the project beside a copy of its storage, to be changed by one test."""
        shutil.copytree(self.path, target / self.path.name, symlinks=True)
        storage = self.path.with_name(f"{self.path.name}-storage")
        if storage.exists():
            shutil.copytree(storage, target / storage.name)
        return replace(self, path=target / self.path.name)

    def run(self, *command: str, code: int = 0, variables: dict[str, str] | None = None) -> str:
        """Run a command of the project's environment; return what it printed."""
        interpreter(self.python, self.framework)
        done = subprocess.run(
            [UV, "run", "--no-sync", *command],
            cwd=self.path,
            env={**self.env, **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            encoding="utf-8",
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def inv(self, *arguments: str, code: int = 0, variables: dict[str, str] | None = None) -> str:
        """Run a task of the project; return what it printed."""
        return self.run("inv", *arguments, code=code, variables=variables)

    def interrupt(
        self, *command: str, when: str, how: Callable[[subprocess.Popen[str]], None]
    ) -> str:
        """Run a command and call `how` on its process as soon as it prints a line with `when`."""
        process = subprocess.Popen(
            [UV, "run", "--no-sync", *command],
            cwd=self.path,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        assert process.stdout
        watchdog = threading.Timer(300, process.kill)
        watchdog.start()
        lines = []
        for line in process.stdout:
            lines.append(line)
            if when in line:
                how(process)
        process.wait()
        watchdog.cancel()
        printed = "".join(lines)
        assert when in printed, printed
        assert process.returncode != 0, printed
        return printed

    def commit(self, message: str) -> str:
        """Commit everything, without the hooks, and return the commit."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--no-verify", "--message", message)
        return self.run("git", "rev-parse", "HEAD").strip()

    def json(self, name: str) -> Any:
        """A JSON file of the project."""
        return json.loads((self.path / name).read_text("utf-8"))

    def results(self) -> dict[str, str]:
        """All that a training and its evaluation measured, as it was written."""
        return {name: (self.path / name).read_text("utf-8") for name in RESULTS}

    def runs(self) -> list[dict[str, Any]]:
        """The offline W&B runs as `wandb leet inspect` reads them, oldest first."""
        logs = sorted((self.path / "wandb").glob("offline-run-*/run-*.wandb"))
        return [inspect_run(log) for log in logs]


def inspect_run(log: Path) -> dict[str, Any]:
    """A log of W&B, read by the program behind `wandb leet inspect`: without its Python."""
    spec = importlib.util.find_spec("wandb")
    assert spec
    assert spec.origin
    program = Path(spec.origin).with_name("bin") / "wandb-core"
    options = ("--no-observability", "--summary", "--json", "--run-file", str(log))
    command = [str(program), "leet", "inspect", *options, str(log.parents[1])]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def started_by(pid: int, command: str = "") -> list[psutil.Process]:
    """What a process has started, and what that has: all of it, or those with a text in theirs."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if command in " ".join(process.cmdline()):
                found.append(process)
    return found


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill those that have not ended meanwhile, and wait until the system has forgotten them."""
    killed = list(processes)
    for process in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(killed, timeout=60)


def stages_run(printed: str) -> list[str]:
    """The stages that DVC ran, in order."""
    return re.findall(r"^Running stage '(\w+)'", printed, re.MULTILINE)


def set_up(folder: Path, python: str = PYTHON, **answers: str) -> Project:
    """Generate a project in `folder` and run `inv setup`, its environment being complete."""
    folder.mkdir(parents=True, exist_ok=True)
    framework = answers.get("framework", FRAMEWORK)
    project = Project(bake(folder, **{**PLAIN, **answers}).path, python, framework)
    project.inv("setup", variables={"UV_NO_SYNC": "1"})
    return project
