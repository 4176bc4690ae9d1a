"""What tests run of a project: its stages, on a config as `config(…)` composes it."""

import subprocess
from pathlib import Path

from my_ml_project import train as stage
from omegaconf import DictConfig
from wandb.util import get_core_path
from workflow.config.schema import plain


def train(config: DictConfig, run_dir: Path) -> float:
    """Train as stage `train` does, in `run_dir`; return the metric of the best epoch."""
    return stage.train(plain(config), run_dir)


def inspect(log: Path, *flags: str) -> str:
    """Read an offline run back with the program behind `wandb leet inspect`, as JSON."""
    options = ("--no-observability", *flags, "--json", "--run-file", str(log))
    command = [get_core_path(), "leet", "inspect", *options, str(log.parents[1])]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
