"""What the tests share: a small config, small prepared data, and a folder to train in."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from my_ml_project.export import export
from my_ml_project.prepare import SPLITS
from omegaconf import DictConfig
from running import train
from workflow import signature
from workflow.config.compose import compose
from workflow.config.schema import plain
from workflow.paths import CONF, PREPARED_DATA, ROOT

# Overrides with which a training takes less than a second.
SMALL = [
    "loader.batch_size=8",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "tracking.mode=disabled",
]


@pytest.fixture(scope="session")
def is_the_teams() -> Callable[[str], bool]:
    """Says whether a fork's team adds a path to projects, changes it, or takes it away."""
    root = Path(__file__).resolve().parents[2]
    sys.path.append(str(root))  # the last: the project has a tasks.py, too
    from fork.team import touches

    return partial(touches, root)


@pytest.fixture
def small() -> list[str]:
    """Overrides with which a training takes less than a second."""
    return SMALL


@pytest.fixture
def config(small: list[str]) -> Callable[..., DictConfig]:
    """Composes the project's config: small, and with the overrides given."""
    return lambda *overrides: compose([*small, *overrides], ROOT / CONF)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config) -> Path:
    """An empty folder with prepared data, where runs of this test are kept. It is current."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("WANDB_", "PL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb" / ".data"))
    write_prepared_data(tmp_path / PREPARED_DATA, config().data)
    return tmp_path


@pytest.fixture
def prepared() -> Callable[[Path, DictConfig], Path]:
    """Writes prepared data of a config into a folder, and returns the folder."""

    def write(folder: Path, data: DictConfig) -> Path:
        write_prepared_data(folder, data)
        return folder

    return write


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prepared data and a small model.onnx."""
    folder = tmp_path_factory.mktemp("exported")
    config = compose(SMALL, ROOT / CONF)
    write_prepared_data(folder / PREPARED_DATA, config.data)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train(config, folder / "run")
        export(folder / "run" / "model.ckpt", folder / "model.onnx", PREPARED_DATA, samples=3)
    return folder


@pytest.fixture
def python(workspace: Path) -> Callable[..., subprocess.Popen]:
    """Starts `python` in the workspace, where it imports this project."""

    def start(*arguments: str, **options) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, *arguments]
        return subprocess.Popen(command, cwd=workspace, env=environment, text=True, **options)

    return start


def write_prepared_data(folder: Path, data: DictConfig) -> None:
    """Write what stage `prepare` writes: few images, random, with a pattern for each class."""
    generator = np.random.default_rng(0)
    (spec,) = signature.inputs(plain(data))
    shape, classes = spec["shape"][1:], len(data.target.names)
    patterns = generator.uniform(0.2, 0.8, (classes, *shape))
    folder.mkdir(parents=True)
    for split in SPLITS:
        target = np.arange(6 * classes) % classes
        images = patterns[target] + generator.uniform(-0.2, 0.2, (len(target), *shape))
        encoded = signature.encode(spec, (spec["max_value"] * images).astype(int))
        np.save(folder / f"{split}_{spec['name']}.npy", encoded)
        np.save(folder / f"{split}_target.npy", target)
