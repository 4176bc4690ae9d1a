"""`inv monitor.drift` of a trained project that has served: the same data, and others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from driving import Project
from served import serving

pytestmark = pytest.mark.slow

SEND = """
import json, sys, urllib.request
import numpy as np

url, how = sys.argv[1:]
images = np.load("data/prepared/test_images.npy")
noise = np.random.default_rng(0).integers(-8, 9, images.shape)
images = {"same": images, "inverted": 16 - images, "noisy": (images + noise).clip(0, 16)}[how]
for image in images.tolist():
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8], "data": image}
    urllib.request.urlopen(url, json.dumps({"inputs": [tensor]}).encode()).close()
"""

REFUSE = """
import socket, sys

def refuse(*_):
    raise SystemExit("it connects")

socket.socket.connect = socket.getaddrinfo = refuse
print("no connections", file=sys.stderr)
"""


def serve(trained: Project, folder: Path, how: str) -> Project:
    """A copy of a project, whose `inv serve` was asked the test images, changed in this way."""
    project = trained.copy(folder)
    (project.path / ".env").write_text("SERVING_LOG_EVERY=1\n")
    with serving(project) as running:
        project.run("python", "-c", SEND, f"{running.url}/v2/models/model/infer", how)
    return project


@pytest.fixture(scope="module")
def compared(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A project that was asked the test images as they are, and what the comparison printed."""
    project = serve(trained, tmp_path_factory.mktemp("same"), "same")
    return project, project.inv("monitor.drift", "--fail")


@pytest.fixture
def same(compared: tuple[Project, str]) -> Project:
    """The project of `compared`."""
    return compared[0]


def drifted(project: Project) -> set[str]:
    """The columns that drifted, as the report has it."""
    return set(project.json("reports/drift.json")["drifted"])


def test_the_same_data_have_not_drifted(compared: tuple[Project, str]) -> None:
    same, printed = compared
    assert drifted(same) == set()
    assert "drift: 0 of 8 columns drifted" in printed
    assert same.json("reports/drift.json")["samples"] == 359
    untracked = same.run("git", "status", "--porcelain", "--untracked-files=all")
    assert "drift" not in untracked
    assert "served" not in untracked


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("inverted", {"brightness", "ink", "confidence", "predicted class"}),
        ("noisy", {"contrast", "roughness", "confidence"}),
    ],
)
def test_other_data_are_named(
    how: str, expected: set[str], trained: Project, tmp_path: Path
) -> None:
    project = serve(trained, tmp_path, how)
    printed = project.inv("monitor.drift", "--fail", code=1)
    assert drifted(project) >= expected
    for column in expected:
        (row,) = [line for line in printed.splitlines() if line.startswith(column)]
        assert row.endswith("yes")


def test_the_page_asks_nobody_for_anything(same: Project) -> None:
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    assert program, "install Chromium"
    asked: list[str] = []
    problems: list[str] = []
    url = (same.path / "reports/drift.html").as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url)
        row = page.locator("tr", has_text="brightness")
        row.wait_for()
        assert "Not Detected" in row.inner_text()
        page.wait_for_load_state("networkidle")
        browser.close()
    assert asked == [url]
    assert problems == []


def test_the_comparison_connects_to_nobody(same: Project, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSE)
    script = same.path / "workflow/monitoring/drift.py"
    command = ["uv", "run", "--offline", "--script", "--locked", str(script)]
    tables = ["runs/drift/features.json", "reports"]
    printed = same.run(*command, *tables, variables={"PYTHONPATH": str(tmp_path)})
    assert "no connections" in printed  # they would have been refused
    assert "0 of 8 columns drifted" in printed


def test_what_is_missing_is_one_line(trained: Project, same: Project, tmp_path: Path) -> None:
    *_, line = trained.copy(tmp_path).inv("monitor.drift", code=1).splitlines()
    assert line.startswith("drift: runs/served/model: nothing is kept of what is asked: serve with")
    *_, line = same.run("env", "UV=no-uv", "inv", "monitor.drift", code=127).splitlines()
    assert line == "no-uv is not installed: inv doctor says how to fix it"
