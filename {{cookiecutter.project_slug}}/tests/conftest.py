"""What the tests share: samples that conf/data/ describes, and the pipeline run once on them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

from workflow.config.compose import compose
from workflow.paths import CONF, RAW_DATA, ROOT

PACKAGE = "{{ cookiecutter.package_name }}"
# With these the whole pipeline takes seconds, whatever conf/ says.
SMALL = ["loader.batch_size=16", "trainer.max_epochs=2", "tracking.mode=disabled"]


@pytest.fixture(scope="session")
def config() -> DictConfig:
    """The config of conf/, with a training that takes seconds."""
    return compose(SMALL, ROOT / CONF)


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory, config: DictConfig) -> Path:
    """A folder in which each stage has run once, on random samples."""
    folder = tmp_path_factory.mktemp("pipeline")
    (folder / RAW_DATA).mkdir(parents=True)
    np.savez(folder / RAW_DATA / f"{config.data.name}.npz", **random_samples(config.data))
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DVC_", "PL_", "WANDB_"))
    }
    variables |= {"DVC_ROOT": str(folder), "PYTHONPATH": str(ROOT)}
    for stage in ("prepare", "train", "export", "evaluate"):
        command = [
            sys.executable,
            "-m",
            f"{PACKAGE}.{stage}",
            *SMALL,
            f"hydra.run.dir=runs/{stage}",
        ]
        done = subprocess.run(
            command,
            cwd=folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )
        assert done.returncode == 0, f"{stage}:\n{done.stdout}"
    return folder


def random_samples(data: DictConfig, number: int = 200) -> dict[str, np.ndarray]:
    """Return raw data as conf/data/ describes it: what `fetch` would write, but random."""
    generator = np.random.default_rng(0)
    shape = (number, *data.image_shape)
    return {
        "images": generator.integers(0, data.max_value, shape, endpoint=True),
        "labels": np.arange(number) % len(data.classes),
    }
