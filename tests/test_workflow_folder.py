"""The folder workflow/ is the same in every project, and can be installed in its place."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from baking import bake
from driving import UV, Project, stages_run


def contents(project: Path) -> dict[str, bytes]:
    folder = project / "workflow"
    files = [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in files if path.is_file()
    }


def test_the_folder_is_the_same_whatever_was_answered() -> None:
    answers = {"project_name": "Tides & Co", "package_name": "tides", "ci": "none"}
    one = contents(bake().path)
    other = contents(bake(**answers, license="proprietary").path)
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


@pytest.mark.slow
def test_a_project_works_the_same_with_the_folder_installed(
    trained_sklearn: Project, tmp_path: Path
) -> None:
    project = trained_sklearn.copy(tmp_path)
    folder = project.path / "workflow"
    build = [UV, "build", "--quiet", "--wheel", f"--out-dir={tmp_path / 'wheel'}", str(folder)]
    subprocess.run(build, check=True, env=project.env)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    installed = tmp_path / "installed"
    install = [UV, "pip", "install", "--quiet", "--no-deps", f"--target={installed}", str(wheel)]
    subprocess.run(install, check=True, env=project.env)
    shutil.rmtree(folder)
    there = {"PYTHONPATH": os.pathsep.join([str(installed), str(project.path)])}

    project.run("python", "-m", "workflow.stage_code", "--fix", variables=there)
    assert "workflow/" not in (project.path / "dvc.yaml").read_text("utf-8")
    before = project.json("reports/metrics.json")
    printed = project.run("dvc", "repro", "--force", variables=there)
    assert {"fetch", "prepare", "train", "export", "evaluate"} <= set(stages_run(printed))
    assert project.json("reports/metrics.json") == before
    project.inv("report", variables=there)
    assert (project.path / "reports/report.html").stat().st_size > 10_000
    assert {path.name for path in (installed / "workflow").glob("conf*")} == {
        "config",
        "conflicts.py",
    }
    assert_serves(project, there)


def assert_serves(project: Project, variables: dict[str, str]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [UV, "run", "--no-sync", "inv", "serve", f"--port={port}"],
        cwd=project.path,
        env={**project.env, **variables},
    )
    try:
        for _ in range(300):
            try:
                page = urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)
                assert b"<title>" in page.read()
                ready = f"http://127.0.0.1:{port}/v2/health/ready"
                assert urllib.request.urlopen(ready, timeout=5).status == 200
                return
            except OSError:
                time.sleep(0.2)
        pytest.fail("nothing is served")
    finally:
        process.terminate()
        process.wait(30)
