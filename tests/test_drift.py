"""`inv monitor.drift` of a trained project that has served: the same data, and others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from driving import Project
from served import serving

pytestmark = pytest.mark.slow

REFUSE = """
import socket, sys

def refuse(*_):
    raise SystemExit("it connects")

socket.socket.connect = socket.getaddrinfo = refuse
print("no connections", file=sys.stderr)
"""


@dataclass(frozen=True)
class Compared:
    """What a comparison printed; `features` are what it compared, `reports` what it wrote."""

    printed: str
    features: Path
    reports: Path

    @property
    def drifted(self) -> set[str]:
        """The columns that drifted."""
        return set(self.report["drifted"])

    @property
    def report(self) -> dict[str, Any]:
        return json.loads((self.reports / "drift.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def project(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One folder for all comparisons: uv makes an environment of drift.py for each path of it."""
    project = trained.copy(tmp_path_factory.mktemp("drift"))
    (project.path / ".env").write_text("SERVING_LOG_EVERY=1\n")
    return project


@pytest.fixture(scope="module")
def compare(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Compared]:
    """Asks `inv serve` the test images, changed in this way, and compares them with the data."""

    def run(how: str, code: int = 0) -> Compared:
        shutil.rmtree(project.path / "runs/served", ignore_errors=True)
        with serving(project) as running:
            running.send_test_images(how)
        printed = project.inv("monitor.drift", "--fail", code=code)
        folder = tmp_path_factory.mktemp(how)
        features = shutil.copy(project.path / "runs/drift/features.json", folder)
        reports = shutil.copytree(project.path / "reports", folder / "reports")
        return Compared(printed, Path(features), reports)

    return run


@pytest.fixture(scope="module")
def same(compare: Callable[..., Compared]) -> Compared:
    """The test images as they are."""
    return compare("same")


def test_the_same_data_have_not_drifted(same: Compared, project: Project) -> None:
    assert same.drifted == set()
    assert "drift: 0 of 8 columns drifted" in same.printed
    assert same.report["samples"] == 359
    untracked = project.run("git", "status", "--porcelain", "--untracked-files=all")
    assert "drift" not in untracked
    assert "served" not in untracked


def test_other_data_are_named(compare: Callable[..., Compared]) -> None:
    other = compare("noisy", code=1)
    for column in ("contrast", "roughness", "confidence"):
        assert column in other.drifted
        (row,) = [line for line in other.printed.splitlines() if line.startswith(column)]
        assert row.endswith("yes")


def test_the_page_asks_nobody_for_anything(same: Compared) -> None:
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    assert program, "install Chromium"
    asked: list[str] = []
    problems: list[str] = []
    url = (same.reports / "drift.html").as_uri()
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


def test_the_comparison_connects_to_nobody(
    same: Compared, project: Project, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(REFUSE)
    script = project.path / "workflow/monitoring/drift.py"
    command = ["uv", "run", "--offline", "--script", "--locked", str(script)]
    tables = [str(same.features), str(tmp_path)]
    printed = project.run(*command, *tables, variables={"PYTHONPATH": str(tmp_path)})
    assert "no connections" in printed  # they would have been refused
    assert "0 of 8 columns drifted" in printed


def test_what_is_missing_is_one_line(same: Compared, project: Project, tmp_path: Path) -> None:
    unserved = project.copy(tmp_path)
    shutil.rmtree(unserved.path / "runs/served")
    *_, line = unserved.inv("monitor.drift", code=1).splitlines()
    assert line.startswith("drift: runs/served/model: no request was logged: serve with")
    *_, line = project.run("env", "UV=no-uv", "inv", "monitor.drift", code=127).splitlines()
    assert line == "no-uv is not installed: inv doctor says how to fix it"
