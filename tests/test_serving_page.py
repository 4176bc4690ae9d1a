"""The page of the web application, used in a real browser before real model services."""

from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browsing import draw, expect
from driving import Project, interpreter
from PIL import Image

if TYPE_CHECKING:  # of the group `servers`, which the fast tests do without
    from playwright.sync_api import Browser, Page, Request, Route

pytestmark = pytest.mark.slow

MODELS = ("first", "second")
RUN_URL = "https://wandb.test/team/project/runs/abc"
# Writes a copy of a model whose run has an address.
WITH_URL = """
import json, sys, onnx
model = onnx.load(sys.argv[1])
(entry,) = [entry for entry in model.metadata_props if entry.key == "provenance"]
provenance = json.loads(entry.value)
provenance["run"]["url"] = sys.argv[3]
provenance["more"] = {"nothing": None, "number": 7, "nested": {"a": ["b"]}}
entry.value = json.dumps(provenance)
onnx.save(model, sys.argv[2])
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Site:
    """Services for two models, and the web application before them; one before the first alone.

    The second model is the first, but for the address of its run.
    """

    def __init__(self, project: Project, log: Path) -> None:
        self.project = project
        self.log = log
        model = project.path / "models/model.onnx"
        with_url = log.with_name("with_url.onnx")
        project.run("python", "-c", WITH_URL, str(model), str(with_url), RUN_URL)
        self.files = dict(zip(MODELS, (model, with_url), strict=True))
        port, alone = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}/"
        self.url_of_one = f"http://127.0.0.1:{alone}/"
        self.ports = {name: free_port() for name in MODELS}
        addresses = [f"{name}=http://127.0.0.1:{at}" for name, at in self.ports.items()]
        self.processes = {name: self.start_model(name) for name in MODELS}
        self.processes["web"] = self.start("web", port, MODELS=",".join(addresses))
        self.processes["alone"] = self.start("web", alone, MODELS=addresses[0])
        for url in (self.url, self.url_of_one):
            self.wait(url)

    def start_model(self, name: str) -> subprocess.Popen[bytes]:
        variables = {"MODEL_NAME": name, "MODEL_FILE": str(self.files[name])}
        return self.start("service", self.ports[name], **variables)

    def start(self, module: str, port: int, **variables: str) -> subprocess.Popen[bytes]:
        python = interpreter(self.project.python, self.project.framework)
        with self.log.open("a") as output:
            return subprocess.Popen(
                [python, "-m", f"workflow.serving.{module}", f"--port={port}"],
                cwd=self.project.path,
                env={**self.project.env, **variables},
                stdout=output,
                stderr=output,
            )

    def wait(self, url: str) -> None:
        """Wait until all models behind an address can be asked."""
        end = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{url}v2/health/ready").close()
                return
            except OSError:
                assert time.monotonic() < end, self.log.read_text()
                time.sleep(0.2)

    def ask(self, image: list[int], model: str = MODELS[0]) -> list[float]:
        """The probabilities that a model gives for an image."""
        tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 8, 8], "data": image}
        body = json.dumps({"inputs": [tensor]}).encode()
        with urllib.request.urlopen(f"{self.url}v2/models/{model}/infer", body) as answer:
            return json.load(answer)["outputs"][0]["data"]


@pytest.fixture(scope="module")
def site(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    running = Site(trained, tmp_path_factory.mktemp("site") / "log")
    yield running
    for process in running.processes.values():
        process.terminate()
        process.wait()


@pytest.fixture
def problems() -> list[str]:
    """What the browser complained of, or asked elsewhere; a test that expects some empties it."""
    return []


@pytest.fixture
def page(
    request: pytest.FixtureRequest, browser: Browser, site: Site, problems: list[str]
) -> Iterator[Page]:
    """The page, opened and ready; parameters are options of the browser."""
    options: dict[str, Any] = getattr(request, "param", {})
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    page = context.new_page()
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))

    def note_elsewhere(asked: Request) -> None:
        if not asked.url.startswith(site.url):
            problems.append(asked.url)

    page.on("request", note_elsewhere)
    page.goto(site.url)
    page.wait_for_selector("#gallery button")
    expect(page.locator(".facts", has_text="version")).to_have_count(2)
    yield page
    context.close()
    assert problems == []


def sent_and_shown(page: Page, act: Callable[[], None]) -> tuple[list[int], str]:
    """Do something; return the image that the first model was then asked, and the class shown."""
    images: list[list[int]] = []

    def note(asked: Request) -> None:
        if asked.url.endswith(f"/{MODELS[0]}/infer"):
            images.append(json.loads(asked.post_data or "")["inputs"][0]["data"])

    page.on("request", note)
    act()
    page.wait_for_timeout(400)
    page.remove_listener("request", note)
    return images[-1], page.locator(".verdict strong").first.inner_text()


def best(probabilities: list[float]) -> str:
    return str(probabilities.index(max(probabilities)))


def test_a_drawn_one_is_a_one(page: Page, site: Site) -> None:
    image, shown = sent_and_shown(page, lambda: draw(page, (0.5, 0.15), (0.5, 0.85)))
    assert shown == best(site.ask(image)) == "1"
    rows = [image[8 * row : 8 * row + 8] for row in range(8)]
    assert all(max(row) > 4 for row in rows)  # from top to bottom, as the data are
    assert {row[column] for row in rows for column in (0, 1, 6, 7)} == {0}
    assert [row[:4] for row in rows] == [row[:3:-1] for row in rows]  # in the middle
    assert 0 < rows[3][3] <= 16
    page.click("#clear")
    small, _ = sent_and_shown(page, lambda: draw(page, (0.2, 0.1), (0.2, 0.5)))
    assert small == image  # small and aside is no other digit
    bar = page.locator(".bars li.best").first
    assert bar.locator(".name").inner_text() == "1"
    share = float(bar.locator(".share").inner_text().removesuffix("%"))
    assert share == pytest.approx(100 * max(site.ask(image)), abs=0.1)
    page.click("#clear")
    expect(page.locator(".verdict", has_text="Nothing is drawn yet.")).to_have_count(2)


def test_answers_come_while_it_is_drawn(page: Page) -> None:
    box = page.locator("#pad").bounding_box()
    assert box
    page.mouse.move(box["x"] + 100, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 100, box["y"] + 150, steps=5)
    page.wait_for_selector(".verdict strong")  # the button is still down
    page.mouse.up()


def test_a_sample_is_asked_as_it_is(page: Page, site: Site) -> None:
    with urllib.request.urlopen(f"{site.url}v2/models/{MODELS[0]}") as answer:
        samples = json.load(answer)["parameters"]["samples"]
    assert page.locator("#gallery button").count() == len(samples) > 9
    for number in (0, 3, 7):
        button = page.locator("#gallery button").nth(number)
        image, shown = sent_and_shown(page, button.click)
        assert image == [value for row in samples[number]["inputs"]["images"] for value in row]
        assert shown == best(site.ask(image))
        assert button.get_attribute("aria-pressed") == "true"
        assert page.locator("[aria-pressed=true]").count() == 1


def test_the_keyboard_alone_is_enough(page: Page, site: Site) -> None:
    stops = []
    for _ in range(40):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        if stops[-1] == "pad":
            break
    assert stops[-1] == "pad"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"

    def one() -> None:
        for key in ["ArrowRight"] * 3 + ["Space", "ArrowRight", "Space"]:
            page.keyboard.press(key)
        for number in range(7):
            side = "ArrowLeft" if number % 2 == 0 else "ArrowRight"
            for key in ("ArrowDown", "Space", side, "Space"):
                page.keyboard.press(key)

    image, shown = sent_and_shown(page, one)
    assert image == [0, 0, 0, 16, 16, 0, 0, 0] * 8
    assert shown == best(site.ask(image))
    assert page.locator("#where").inner_text() == "row 8, column 4, ink"
    expect(page.locator("#answer")).to_contain_text("first: 1, ")
    copies = page.locator("button.copy")
    for wanted in ("clear", "SELECT", "SUMMARY", "BUTTON"):
        page.keyboard.press("Tab")
        stop = page.evaluate("document.activeElement.id || document.activeElement.tagName")
        assert stop == wanted
        if stop == "SUMMARY":
            page.keyboard.press("Enter")
            page.wait_for_selector("details[open]")
    expect(copies.first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#copied")).to_have_text("W&B run copied")
    expect(copies.first).to_have_text("Copied")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#gallery') !== null"):
            break
    page.keyboard.press("Enter")  # the first sample
    assert page.locator("[aria-pressed=true]").count() == 1


def test_two_models_are_compared_with_their_lineage(page: Page, site: Site) -> None:
    draw(page, (0.35, 0.15), (0.65, 0.15), (0.45, 0.85))
    expect(page.locator(".verdict strong")).to_have_count(2)
    chosen = page.locator(".panel select").evaluate_all("all => all.map(each => each.value)")
    assert chosen == list(MODELS)
    page.wait_for_timeout(300)
    shares = page.locator(".bars").evaluate_all("all => all.map(each => each.textContent)")
    assert shares[0] == shares[1]  # the same file behind both
    facts = page.locator(".facts").first.inner_text()
    assert re.fullmatch(r"version [0-9a-f]{12} · [\d.]+ ms", facts)
    page.locator("summary").first.click()
    facts = page.locator("dl").first.inner_text()
    commit = site.project.run("git", "rev-parse", "HEAD").strip()
    assert commit[:12] in facts
    for wanted in (
        "W&B run",
        "nothing uncommitted",
        "data/prepared ",
        "Config",
        "uv.lock",
        "Seed",
    ):
        assert wanted in facts
    page.locator(".panel select").last.select_option(MODELS[0])
    expect(page.locator(".verdict strong")).to_have_count(2)


def clipboard(page: Page, site: Site) -> str:
    """What the clipboard has, read in a page that may."""
    reader = page.context.new_page()
    reader.goto(site.url)
    text = reader.evaluate("navigator.clipboard.readText()")
    reader.close()
    return str(text)


CLIPBOARD = {"permissions": ["clipboard-read", "clipboard-write"]}


@pytest.mark.parametrize("page", [CLIPBOARD], indirect=True)
@pytest.mark.parametrize("host", ["127.0.0.1", "digits.test"])  # as it is used from elsewhere
def test_a_hash_of_the_lineage_is_short_and_copied_whole(page: Page, site: Site, host: str) -> None:
    found = page.context.new_page()
    found.goto(site.url.replace("127.0.0.1", host))
    assert found.evaluate("'clipboard' in navigator") == (host == "127.0.0.1")
    found.locator("summary").first.click()
    lineage = found.locator("dl").first
    with urllib.request.urlopen(f"{site.url}v2/models/{MODELS[0]}") as answer:
        provenance = json.load(answer)["parameters"]["provenance"]
    data = provenance["data"]
    for name, whole in [
        ("commit", provenance["git"]["commit"]),
        ("data/raw", data["data/raw"]),
        ("Config", provenance["config"]),
        ("W&B run", provenance["run"]["path"]),
    ]:
        assert (whole in lineage.inner_text()) == (name == "W&B run")
        assert whole[:12] in lineage.inner_text()
        found.get_by_role("button", name=f"Copy {name}").first.click()
        expect(found.locator("#copied")).to_have_text(f"{name} copied")
        assert clipboard(page, site) == whole
    found.close()


def test_a_run_is_a_link_where_its_address_is_known(page: Page) -> None:
    for summary in page.locator("summary").all():
        summary.click()
    assert page.locator("dl").first.locator("a").count() == 0
    lineage = page.locator("dl").last.inner_text()
    for row in ("nothing none", "number 7", 'nested {"a":["b"]}'):  # whatever a project adds
        assert row in lineage
    links = page.locator("dl").last.locator("a")
    assert links.evaluate_all("all => all.map(each => each.href)") == [RUN_URL]


def test_one_model_is_named_and_nothing_is_there_to_choose(page: Page, site: Site) -> None:
    assert page.locator("select").count() == 2
    one = page.context.new_page()
    one.goto(site.url_of_one)
    expect(one.locator(".panel h2")).to_have_text(f"Model: {MODELS[0]}")
    assert one.locator("select").count() == 0
    one.wait_for_selector("#gallery button")
    draw(one, (0.5, 0.15), (0.5, 0.85))
    expect(one.locator(".verdict strong")).to_have_text("1")


def test_the_grid_lies_under_the_ink(page: Page) -> None:
    draw(page, (0.5, 0.15), (0.5, 0.85))  # along a line of the grid
    image = Image.open(io.BytesIO(page.locator("#pad").screenshot())).convert("RGB")
    middle, height = image.width // 2, image.height // 2 + 12  # between two lines across
    assert len({image.getpixel((middle + x, height)) for x in range(-8, 9)}) == 1
    assert len({image.getpixel((x, height)) for x in range(10, 70)}) > 1  # without ink it is seen


def test_samples_say_that_theirs_is_the_true_label(page: Page, site: Site) -> None:
    expect(page.locator("#gallery")).to_contain_text("true label")
    with urllib.request.urlopen(f"{site.url}v2/models/{MODELS[0]}") as answer:
        label = json.load(answer)["parameters"]["samples"][3]["actual"]
    button = page.locator("#gallery button").nth(3)
    assert button.get_attribute("aria-label") == f"Sample, true label {label}"


# The colour of a text, and that of what lies behind it, as lists of red, green and blue.
COLOURS = """element => {
    const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
    const colour = rgb(getComputedStyle(element).color);
    const isClear = (one) => rgb(getComputedStyle(one).backgroundColor)[3] === 0;
    while (isClear(element)) element = element.parentElement;
    return [colour, rgb(getComputedStyle(element).backgroundColor)];
}"""


def contrast(*colours: list[float]) -> float:
    """The ratio of the luminances of two colours, as WCAG 2 computes it."""

    def luminance(colour: list[float]) -> float:
        parts = [value / 255 for value in colour]
        linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted(map(luminance, colours))
    return (lighter + 0.05) / (darker + 0.05)


SCHEMES = [{"color_scheme": scheme} for scheme in ("light", "dark")]
PHONE = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}


@pytest.mark.parametrize("page", SCHEMES, indirect=True)
def test_it_is_light_or_dark(page: Page, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    draw(page, (0.35, 0.15), (0.65, 0.15), (0.45, 0.85))
    page.wait_for_timeout(400)
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    corner = Image.open(tmp_path / "page.png").convert("RGB").getpixel((5, 5))
    assert isinstance(corner, tuple)
    light = request.node.callspec.params["page"]["color_scheme"] == "light"
    assert sum(corner) > 600 if light else sum(corner) < 200
    page.locator("summary").first.click()
    texts = ("h1", "header a", ".muted", ".verdict", ".share", ".facts", "dt", "dd", "button")
    for text in texts:  # as WCAG 2 asks of text
        assert contrast(*page.locator(text).first.evaluate(COLOURS)) >= 4.5, text


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_it_fits_a_phone_and_a_finger_draws(page: Page, site: Site) -> None:
    page.locator("summary").first.click()
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) == 360
    page.locator("summary").first.click()
    page.locator("h1").scroll_into_view_if_needed()
    assert page.locator("#hint").is_hidden()  # of the keyboard
    box = page.locator("#pad").bounding_box()
    assert box
    session = page.context.new_cdp_session(page)

    def swipe() -> None:
        for number in range(9):
            y = box["y"] + box["height"] * (0.15 + 0.7 * number / 8)
            kind = "touchMove" if number else "touchStart"
            points = [{"x": box["x"] + box["width"] / 2, "y": y}]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    image, shown = sent_and_shown(page, swipe)
    assert shown == best(site.ask(image)) == "1"
    assert page.evaluate("scrollY") == 0
    for answer in (*page.locator(".verdict strong").all(), *page.locator(".bars .best").all()):
        found = answer.bounding_box()  # of both models, beside the drawing
        assert found
        assert box["y"] > 0
        assert found["y"] + found["height"] <= 640
        assert 0 <= found["x"] <= found["x"] + found["width"] <= 360


def test_nothing_moves_while_it_comes_up_and_answers(page: Page) -> None:
    page.locator("#gallery button").first.click()
    page.wait_for_timeout(400)
    moved = page.evaluate(
        """() => new Promise((resolve) => new PerformanceObserver((list) => resolve(
            list.getEntries().reduce((sum, entry) => sum + entry.value, 0)
        )).observe({type: "layout-shift", buffered: true}) || setTimeout(() => resolve(0), 500))"""
    )
    assert moved < 0.02


def refusing(status: int) -> Callable[[Route], None]:
    """Answers with an error in place of the web application."""
    return lambda route: route.fulfill(status=status, json={"error": "no"})


def test_what_goes_wrong_is_said_in_words_and_passes(page: Page, problems: list[str]) -> None:
    draw(page, (0.5, 0.15), (0.5, 0.85))
    page.wait_for_selector(".verdict strong")
    statuses = {429: "The queue is full", 504: "took too long"}
    for status, words in statuses.items():
        page.route("**/infer", refusing(status))
        draw(page, (0.5, 0.15), (0.5, 0.85))
        page.locator(".verdict.problem", has_text=words).first.wait_for()
        assert page.locator(".bars .best").count() == 0
        page.unroute("**/infer")
    page.wait_for_selector(".verdict strong")  # asked again by itself
    assert all("Failed to load resource" in problem for problem in problems)
    problems.clear()


def test_one_service_may_go_and_come_back(page: Page, site: Site, problems: list[str]) -> None:
    gone = site.processes[MODELS[1]]
    gone.terminate()
    gone.wait()
    draw(page, (0.5, 0.15), (0.5, 0.85))
    expect(page.locator(".verdict").last).to_contain_text("service is down")
    expect(page.locator(".verdict strong").first).to_have_text("1")
    site.processes[MODELS[1]] = site.start_model(MODELS[1])
    expect(page.locator(".verdict strong").nth(1)).to_have_text("1", timeout=60_000)
    assert all("Failed to load resource" in problem for problem in problems)
    problems.clear()


def test_the_documentation_loads_nothing_from_elsewhere(page: Page, site: Site) -> None:
    page.goto(f"{site.url}docs")
    groups = page.locator(".opblock-tag-section h3")
    expect(groups).to_have_count(4)  # drawn after the page has loaded
    names = [group.split()[0] for group in groups.all_inner_texts()]
    assert names == ["Inference", "Models", "Health", "Server"]
    for operation in ("infer", "version_infer"):  # as they are: the example works
        block = page.locator(f"#operations-Inference-{operation}")
        block.click()
        block.get_by_role("button", name="Try it out").click()
        block.get_by_role("button", name="Execute").click()
        block.locator(".live-responses-table", has_text="probabilities").wait_for()
