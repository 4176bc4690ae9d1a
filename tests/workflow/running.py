"""What tests run of a project: its stages, on a config as `config(…)` composes it."""

from pathlib import Path

from my_ml_project import train as stage
from omegaconf import DictConfig
from workflow.config.schema import plain


def train(config: DictConfig, run_dir: Path) -> float:
    """Train as stage `train` does, in `run_dir`; return the metric of the best epoch."""
    return stage.train(plain(config), run_dir)
