"""What the tests share: samples that conf/data/ describes, and the pipeline run once on them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig

from workflow import signature
from workflow.config.compose import compose
from workflow.config.schema import plain
from workflow.paths import CONF, RAW_DATA, ROOT

PACKAGE = "{{ cookiecutter.package_name }}"
# With these the whole pipeline takes seconds, whatever conf/ says.
{%- if cookiecutter.framework == "pytorch" %}
SMALL = ["loader.batch_size=16", "trainer.max_epochs=2", "tracking.mode=disabled"]
{%- elif cookiecutter.__backend %}
SMALL = ["loader.batch_size=16", "trainer.epochs=2", "tracking.mode=disabled"]
{%- else %}
SMALL = ["tracking.mode=disabled"]
{%- endif %}


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
    for file in (ROOT / "data").glob("*.dvc"):  # such as a pretrained model
        (folder / "data" / file.stem).symlink_to(file.with_suffix(""))
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DVC_", "PL_", "WANDB_"))
    }
    modules = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    variables |= {"DVC_ROOT": str(folder), "PYTHONPATH": modules}
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


def random_samples(data: DictConfig, number: int = 200) -> dict[str, Any]:
    """Return raw data as conf/data/ describes it: what `fetch` would write, but random."""
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for spec in signature.inputs(plain(data)):
        if spec["kind"] == "image":
            shape = (number, *spec["shape"][1:])
            arrays[spec["name"]] = generator.integers(0, spec["max_value"], shape, endpoint=True)
        elif spec["kind"] == "text":
            letters = generator.choice([*"abcé "], (number, 20))
            arrays[spec["name"]] = ["".join(row) for row in letters]
        else:
            arrays |= {column["name"]: random_column(column, number) for column in spec["columns"]}
    is_value = data.target.kind == "value"
    arrays["target"] = generator.normal(size=number) if is_value else np.arange(number)
    return arrays if is_value else arrays | {"target": arrays["target"] % len(data.target.names)}


def random_column(column: dict[str, Any], number: int) -> np.ndarray:
    generator = np.random.default_rng(1)
    if "choices" in column:
        return generator.choice(column["choices"], number)
    return generator.uniform(*column.get("range", (-1, 1)), number)
