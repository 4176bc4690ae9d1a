"""A trained project and the double of a W&B server that it may talk to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wandb_backend import Backend, Run

NOWHERE = "http://127.0.0.1:9"  # nobody listens there
FROM_PARAMS = [
    *("--config-dir", ".", "--config-name", "params"),
    *("hydra/job_logging=quiet", "hydra.output_subdir=null", "hydra.run.dir=runs/evaluate"),
]


class Server(Backend):
    """A server that can be told to refuse what is put under some path."""

    refused = ""

    def store(self, path: str, content: bytes) -> None:
        if self.refused and path.startswith(self.refused):
            raise ValueError(path)
        super().store(path, content)


@dataclass
class Project:
    """A copy of the trained project, whose processes know nothing of the user's own settings."""

    path: Path
    python: Path
    backend: Server

    def environment(self, **env: str) -> dict[str, str]:
        """The variables of a process; an empty one is as good as none."""
        inherited = {key: os.environ[key] for key in ("PATH", "SYSTEMROOT") if key in os.environ}
        own = {
            "HOME": str(self.path.parent),
            "USERPROFILE": str(self.path.parent),
            "HTTP_PROXY": NOWHERE,
            "HTTPS_PROXY": NOWHERE,
            "NO_PROXY": "127.0.0.1",
            "PYTHONUTF8": "1",
            "WANDB_API_KEY": self.backend.api_key,
            "WANDB_BASE_URL": self.backend.url,
            "WANDB_DIR": str(self.path.parent),  # where the user's other projects have their runs
            "WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "2",  # seconds; 15 by default
            "WANDB_MODE": "offline",  # as a user has it who works offline
        }
        return {key: value for key, value in {**inherited, **own, **env}.items() if value}

    def command(self, name: str, *arguments: str) -> list[str]:
        """The command that runs a stage of the project's package, or a module of `workflow`."""
        package = self.path.name.replace("-", "_")
        module = name if name.startswith("workflow.") else f"{package}.{name}"
        return [str(self.python), "-m", module, *arguments]

    def module(self, name: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a module of the project's package to its end."""
        done = subprocess.run(
            self.command(name, *arguments),
            cwd=self.path,
            env=self.environment(**env),
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        assert self.backend.api_key not in done.stdout + done.stderr
        return done

    def sync(self, **env: str) -> subprocess.CompletedProcess[str]:
        return self.module("workflow.tracking.sync", **env)

    def json(self, name: str) -> Any:
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    def start(self, name: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start a module of the project's package; what it prints can be read."""
        return subprocess.Popen(
            self.command(name, *arguments),
            cwd=self.path,
            env=self.environment(**env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    @property
    def logs(self) -> list[Path]:
        """The log of the training, then that of the evaluation."""
        return sorted(self.path.glob("wandb/offline-run-*/run-*.wandb"))

    @property
    def marked(self) -> list[Path]:
        return sorted(self.path.glob("wandb/offline-run-*/*.synced"))

    @property
    def run_id(self) -> str:
        return self.logs[0].stem.removeprefix("run-")

    @property
    def run(self) -> Run:
        """The one run that the server has."""
        assert list(self.backend.runs) == [(self.path.name, self.run_id)]
        return self.backend.run(self.path.name, self.run_id)

    @property
    def epochs(self) -> list[int]:
        """The epochs of the server's history, as they follow each other there."""
        return [row["epoch"] for row in self.run.history if "epoch" in row]


def copy(trained_project: Path, python: Path, folder: Path, backend: Server) -> Project:
    target = folder / trained_project.name
    ignored = shutil.ignore_patterns(".venv", ".git", "__pycache__")
    shutil.copytree(trained_project, target, symlinks=True, ignore=ignored)
    return Project(target, python, backend)
