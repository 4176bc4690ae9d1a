"""A real browser, and what tests of pages do in it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # of the group `servers`, which the fast tests do without
    from playwright.sync_api import Browser, Locator, LocatorAssertions, Page


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The Chromium of this machine."""
    from playwright.sync_api import sync_playwright

    # Names ending in .test are this machine: another one than localhost, as a server has it.
    options = ["--no-sandbox", "--host-resolver-rules=MAP *.test 127.0.0.1"]
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    assert program, "install Chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=options)
        yield started
        started.close()


def expect(found: Locator) -> LocatorAssertions:
    """Assertions that wait a while until they hold."""
    from playwright.sync_api import expect

    return expect(found)


def draw(page: Page, *points: tuple[float, float]) -> None:
    """Draw a line with the mouse, its points in shares of the pad."""
    box = page.locator("#pad").bounding_box()
    assert box
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for x, y in at[1:]:
        page.mouse.move(x, y, steps=8)
    page.mouse.up()
