"""The pipeline as DVC runs it: every stage for real, in a copy of the project."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from workflow import paths
from workflow.paths import ROOT

pytestmark = pytest.mark.slow
COPIED = ["conf", "my_ml_project", "workflow", ".dvc", ".dvcignore", "dvc.yaml"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this project whose pipeline has run, with short training."""
    folder = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("tmp", "cache", "config.local", "__pycache__")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    set_epochs(folder, 2)
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    dvc(folder, "repro")
    return folder


def set_epochs(project: Path, epochs: int) -> None:
    file = project / "conf" / "trainer" / "cpu.yaml"
    content = OmegaConf.load(file)
    content.max_epochs = epochs
    OmegaConf.save(content, file)


def dvc(project: Path, *arguments: str) -> str:
    python = Path(sys.executable).parent  # the stages' commands begin with `python`
    environment = {**os.environ, "WANDB_MODE": "offline"}
    environment["PATH"] = f"{python}{os.pathsep}{environment['PATH']}"
    command = [sys.executable, "-m", "dvc", *arguments]
    result = subprocess.run(
        command,
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_pipeline_makes_a_measured_model(project: Path) -> None:
    for path in (paths.CHECKPOINT, paths.MODEL, paths.PICTURES / "worst_mistakes.png"):
        assert (project / path).stat().st_size > 0
    metrics = json.loads((project / paths.METRICS).read_text(encoding="utf-8"))
    assert metrics["accuracy"] > 0.5


def test_pipeline_has_nothing_to_do_again(project: Path) -> None:
    assert "up to date" in dvc(project, "repro")


def test_the_plots_need_no_metric_of_a_classification(project: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(project, tmp_path / "regression", symlinks=True)
    history, picture = folder / paths.HISTORY, folder / paths.PICTURES / "confusion_matrix.png"
    columns = history.read_text(encoding="utf-8").replace("val/accuracy", "val/mae")
    history.write_text(columns, encoding="utf-8")
    picture.rename(picture.with_name("residuals.png"))
    printed = dvc(folder, "plots", "show")
    page = (folder / "dvc_plots/index.html").read_text(encoding="utf-8")
    assert "val/mae" in page
    assert "residuals.png" in page
    assert printed.startswith("file://"), "and no warning"


def test_another_number_of_epochs_keeps_the_data(project: Path) -> None:
    set_epochs(project, 3)
    dvc(project, "repro", "config")
    changed = json.loads(dvc(project, "status", "--json"))
    assert "train" in changed
    assert "prepare" not in changed
