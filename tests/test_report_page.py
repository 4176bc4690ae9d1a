"""The report, opened in a real browser that has no network."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from driving import Project
from PIL import Image

pytestmark = pytest.mark.slow

OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND"


def browser(*arguments: str) -> str:
    """Run Chromium without a window and return what it prints."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    assert program, "install Chromium"
    options = ("--headless", "--no-sandbox", "--disable-gpu", OFFLINE, "--hide-scrollbars")
    done = subprocess.run(
        [program, *options, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


def screenshot(page: Path, target: Path, width: int, *arguments: str) -> Image.Image:
    browser(f"--screenshot={target}", f"--window-size={width},2400", *arguments, page.as_uri())
    return Image.open(target).convert("RGB")


@pytest.fixture(scope="module")
def page(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = trained.copy(tmp_path_factory.mktemp("report"))
    project.inv("report")
    alone = tmp_path_factory.mktemp("elsewhere") / "report.html"  # nothing of the project beside it
    shutil.copy(project.path / "reports/report.html", alone)
    return alone


def test_the_page_shows_what_came_out(page: Path, trained: Project) -> None:
    text = browser("--dump-dom", page.as_uri())
    accuracy = trained.json("reports/metrics.json")["accuracy"]
    assert f"{accuracy:.4f}" in text
    commit = trained.run("git", "rev-parse", "HEAD").strip()
    assert commit in text
    headings = ("Learning curves", "Confusion matrix", "Calibration", "Worst mistakes")
    for heading in (*headings, "Experiments"):
        assert heading in text
    assert text.count("<path") + text.count("<polyline") >= 3  # the curves


def test_the_page_is_drawn_light_dark_and_narrow(page: Path, tmp_path: Path) -> None:
    light = screenshot(page, tmp_path / "light.png", 1280)
    dark = screenshot(page, tmp_path / "dark.png", 1280, "--blink-settings=preferredColorScheme=0")
    assert sum(light.getpixel((5, 5))) > 600 > 200 > sum(dark.getpixel((5, 5)))  # type: ignore[arg-type]
    for picture in (light, dark):
        colours = picture.getcolors(maxcolors=1_000_000)
        assert colours is not None
        assert len(colours) > 100  # a heat map, curves, pictures: not an empty page
    narrow = screenshot(page, tmp_path / "narrow.png", 500)
    column = narrow.crop((495, 0, 500, 2400)).getcolors(maxcolors=1000)
    assert column is not None
    assert len(column) <= 3  # nothing runs over the right edge
