"""What tests run of a project: its stages, on a config as `config(…)` composes it."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from my_ml_project import prepare
from my_ml_project import train as stage
from omegaconf import DictConfig
from wandb.util import get_core_path
from workflow.config.schema import plain
from workflow.paths import PREPARED_DATA
from workflow.prepared import write
from workflow.raw_data import RawData


def train(config: DictConfig, run_dir: Path) -> float:
    """Train as stage `train` does, in `run_dir`; return the metric of the best epoch."""
    return stage.train(plain(config), run_dir)


def write_prepared(
    raw: Mapping[str, np.ndarray], data: dict[str, Any]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Prepare raw arrays, all of them in each split; return inputs and target."""
    np.savez("raw.npz", **raw)
    file = RawData([Path("raw.npz")])
    target = prepare.encode_target(file, data["target"])
    (inputs,) = prepare.encode_inputs(file, data)
    write(PREPARED_DATA, [inputs], target, dict.fromkeys(prepare.SPLITS, np.arange(len(target))))
    return inputs, target


def inspect(log: Path, *flags: str) -> str:
    """Read an offline run back with the program behind `wandb leet inspect`, as JSON."""
    options = ("--no-observability", *flags, "--json", "--run-file", str(log))
    command = [get_core_path(), "leet", "inspect", *options, str(log.parents[1])]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout
