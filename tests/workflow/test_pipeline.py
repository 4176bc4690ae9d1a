"""The plots of dvc.yaml: what DVC makes of the files that a pipeline leaves."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workflow import paths
from workflow.paths import ROOT

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080000000"
    "03a7e9b550000000a4944415478da63f80f00010101005af8d2970000000049454e44ae426082"
)


@pytest.mark.slow
def test_the_plots_need_no_metric_of_a_classification(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("tmp", "cache", "config.local")
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=ignored)
    for name in (".dvcignore", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    history = tmp_path / paths.HISTORY
    history.parent.mkdir(parents=True)
    history.write_text("epoch,train/loss,val/loss,val/mae\n0,3,4,5\n1,2,3,4\n", encoding="utf-8")
    (tmp_path / paths.PICTURES).mkdir(parents=True)
    (tmp_path / paths.PICTURES / "residuals.png").write_bytes(PIXEL)

    result = subprocess.run(
        [sys.executable, "-m", "dvc", "plots", "show"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stdout
    assert result.stdout.startswith("file://"), "and no warning"
    page = (tmp_path / "dvc_plots/index.html").read_text(encoding="utf-8")
    assert "val/mae" in page
    assert "residuals.png" in page
