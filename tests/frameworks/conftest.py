"""What the tests share: a config of any data and model, and the data prepared."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from my_ml_project.prepare import SPLITS
from random_data import samples
from workflow.config.compose import compose
from workflow.config.schema import plain
from workflow.paths import CONF, PREPARED_DATA, ROOT


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Composes the project's config; of other data or another model, if they are given."""

    def composed(
        *overrides: str,
        inputs: dict[str, Any] | None = None,
        target: dict[str, Any] | None = None,
        model: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        folder = tmp_path / "project" / CONF
        shutil.copytree(ROOT / CONF, folder, dirs_exist_ok=True)
        data = yaml.safe_load((folder / "data/digits.yaml").read_text("utf-8"))
        data |= {"inputs": inputs or data["inputs"], "target": target or data["target"]}
        (folder / "data/other.yaml").write_text(yaml.safe_dump(data), "utf-8")
        added = ["data=other"]
        if model is not None:
            (folder / "model/other.yaml").write_text(yaml.safe_dump(model, sort_keys=False))
            added.append("model=other")
        return plain(compose(["tracking.mode=disabled", *added, *overrides], folder))

    return composed


@pytest.fixture
def prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict], Path]:
    """Makes an empty folder the current one, writes prepared data there, and returns it."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def write(config: dict[str, Any]) -> Path:
        inputs, target = samples(config["data"], 90)
        (tmp_path / PREPARED_DATA).mkdir(parents=True, exist_ok=True)
        for index, split in enumerate(SPLITS):
            for name, array in {**inputs, "target": target}.items():
                np.save(tmp_path / PREPARED_DATA / f"{split}_{name}.npy", array[index::3])
        return tmp_path

    return write
