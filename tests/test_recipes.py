"""Data of six kinds brought into a project, as docs/your-own.md says, and all that follows.

Each changes three files: what `fetch` writes, its file in conf/data/, and the two lines of
conf/config.yaml that name data and model. The last one fine-tunes a pretrained model.
"""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from baking import ROOT
from browsing import expect
from driving import FRAMEWORK, PYTHON, UV, Project, interpreter
from served import Serving, serving

from tasks import FRAMEWORKS

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

TABLE = """
    from sklearn import datasets

    bunch = datasets.{load}()
    names = [str(name) for name in bunch.feature_names]
    return {{**dict(zip(names, bunch.data.T, strict=True)), "target": bunch.target}}
"""
PICTURES = """
    generator = np.random.default_rng(0)
    target = generator.integers(0, 3, 600)
    images = generator.integers(0, 120, (600, 28, 28, 3))
    images[np.arange(600), :, :, target] += 60
    return {"pictures": images.astype(np.uint8), "target": target}
"""
TEXTS = """
    generator = np.random.default_rng(0)
    words = {"bad": ["awful", "broken", "slow"], "good": ["great", "lovely", "fast"]}
    target = generator.choice(sorted(words), 600)
    texts = [f"it was {generator.choice(words[name])}, number {n}" for n, name in enumerate(target)]
    return {"comment": np.array(texts), "target": target}
"""
ORDERS = """
    generator = np.random.default_rng(0)
    way = generator.choice(["post", "courier"], 600)
    note = generator.choice(["a small box", "a large box"], 600)
    price = 5 * (way == "courier") + 10 * (note == "a large box") - 3.0
    price += generator.normal(0, 0.5, 600)
    return {"way": way, "note": note, "target": price}
"""
BYT5 = """
from transformers import T5Config, T5EncoderModel
sizes = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4}
T5EncoderModel(T5Config(vocab_size=384, **sizes)).save_pretrained("data/byt5")
"""
WAY = {"kind": "features", "columns": [{"name": "way", "choices": ["post", "courier"]}]}


@dataclass(frozen=True)
class Recipe:
    """What is written, and what is expected of it.

    Args:
        code: the body of the function that gives the data.
        metric: of the test split, and between which values it is good.
        sections: of the report.
        column: one that drift compares.
        pretrained: writes the folder of the model, which docs/your-own.md puts into conf/model/.
    """

    code: str
    inputs: dict[str, Any]
    target: dict[str, Any]
    model: str
    metric: tuple[str, float, float]
    sections: set[str]
    column: str
    pretrained: str = ""


CLASSES = {"Confusion matrix", "Calibration"}
PRICE = {"kind": "value", "name": "price", "unit": "EUR"}
RECIPES = {
    "breast_cancer": Recipe(
        TABLE.format(load="load_breast_cancer"),
        {"cells": {"kind": "features", "columns": "load_breast_cancer"}},
        {"kind": "classes", "names": ["malignant", "benign"]},
        "mlp",
        ("accuracy", 0.92, 1),
        CLASSES,
        "mean radius",
    ),
    "diabetes": Recipe(
        TABLE.format(load="load_diabetes"),
        {"patient": {"kind": "features", "columns": "load_diabetes"}},
        {"kind": "value", "name": "progression", "unit": "points"},
        "mlp",
        ("mae", 30, 60),
        {"Residuals"},
        "bmi",
    ),
    "pictures": Recipe(
        PICTURES,
        {"pictures": {"kind": "image", "rows": 28, "columns": 28, "channels": 3, "max_value": 255}},
        {"kind": "classes", "names": ["red", "green", "blue"]},
        "cnn",
        ("accuracy", 0.95, 1),
        CLASSES,
        "channel 1",
    ),
    "comments": Recipe(
        TEXTS,
        {"comment": {"kind": "text", "length": 64}},
        {"kind": "classes", "names": ["bad", "good"]},
        "mlp",
        ("accuracy", 0.9, 1),
        CLASSES,
        "word length",
    ),
    "orders": Recipe(
        ORDERS,
        {"sending": WAY, "note": {"kind": "text", "length": 32}},
        PRICE,
        "mlp",
        ("mae", 0, 1.5),
        {"Residuals"},
        "sending: way",
    ),
    "reviews": Recipe(
        TEXTS.replace("comment", "review"),
        {"review": {"kind": "text", "length": 64}},
        {"kind": "classes", "names": ["bad", "good"]},
        "byt5",
        ("accuracy", 0.9, 1),
        CLASSES,
        "word length",
        pretrained=BYT5,
    ),
}
NAMES = """
import json, sys
from sklearn import datasets
print(json.dumps([str(name) for name in getattr(datasets, sys.argv[1])().feature_names]))
"""
SEND = """
import json, sys, urllib.request
from pathlib import Path
import numpy as np

metadata = json.load(urllib.request.urlopen(sys.argv[1]))
specs = metadata["inputs"]
arrays = {spec["name"]: np.load(f"data/prepared/test_{spec['name']}.npy") for spec in specs}
for start in range(240):
    inputs = []
    for spec in specs:
        array = arrays[spec["name"]]
        sample = array[start % len(array)][None]
        shape, data = list(sample.shape), sample.ravel().tolist()
        inputs.append({**spec, "shape": shape, "data": data})
    body = json.dumps({"inputs": inputs}).encode()
    urllib.request.urlopen(f"{sys.argv[1]}/infer", body).close()
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables with which timm and transformers are importable."""
    folder = str(tmp_path_factory.mktemp("libraries"))
    install = [UV, "pip", "install", "--quiet", "--no-deps", "--python", str(interpreter(PYTHON))]
    listed = ROOT / "tests" / "libraries.txt"
    subprocess.run([*install, "--target", folder, "-r", listed], check=True)
    return {"PYTHONPATH": folder, "HF_HUB_OFFLINE": "1"}


# Each change runs these. The others are run weekly: their kinds of data are in these too, and a
# pretrained model is fetched.
OFTEN = {(FRAMEWORK, "pictures"), ("scikit-learn", "orders"), ("scikit-learn", "diabetes")}
CASES = [
    pytest.param(
        (framework, name),
        id=f"{framework}-{name}",
        marks=() if (framework, name) in OFTEN else pytest.mark.weekly,
    )
    for framework in FRAMEWORKS
    for name, recipe in RECIPES.items()
    if framework == FRAMEWORK or not recipe.pretrained
]


@pytest.fixture(scope="module", params=CASES)
def project(
    request: pytest.FixtureRequest,
    begun_with: Callable[[str], Project],
    tmp_path_factory: pytest.TempPathFactory,
) -> Project:
    """A project with other data, trained."""
    framework, name = request.param
    recipe = RECIPES[name]
    project = begun_with(framework).copy(tmp_path_factory.mktemp(name))
    files = 3
    if recipe.pretrained:
        project = replace(project, variables=request.getfixturevalue("libraries"))
        add_pretrained(project, recipe)
        files += 4  # conf/model/NAME.yaml, data/NAME.dvc, data/.gitignore, dvc.yaml
    bring_in(project, name, recipe)
    changed = project.run("git", "status", "--porcelain", "--untracked-files=all")
    assert len(changed.splitlines()) == files, changed
    project.inv("train")
    return project


@pytest.fixture
def recipe(project: Project) -> Recipe:
    params = yaml.safe_load((project.path / "params.yaml").read_text("utf-8"))
    return RECIPES[params["data"]["name"]]


def bring_in(project: Project, name: str, recipe: Recipe) -> None:
    fetch = project.path / "my_ml_project/fetch.py"
    source = fetch.read_text("utf-8")
    function = re.search(r"def digits\(\).*?(?=\n\n\nif)", source, re.DOTALL)
    assert function
    code = f'def {name}() -> dict[str, np.ndarray]:\n    """Return the data."""{recipe.code}'
    source = source.replace(function[0], code.rstrip()).replace("= digits()", f"= {name}()")
    fetch.write_text(source, encoding="utf-8")

    inputs = {key: dict(declared) for key, declared in recipe.inputs.items()}
    for declared in inputs.values():
        if isinstance(declared.get("columns"), str):
            names = json.loads(project.run("python", "-c", NAMES, declared["columns"]))
            declared["columns"] = [{"name": column} for column in names]
    data: dict[str, Any] = {"name": name, "inputs": inputs, "target": recipe.target}
    data |= {"validation_fraction": 0.15, "test_fraction": 0.2}
    text = yaml.safe_dump(data, sort_keys=False)
    (project.path / f"conf/data/{name}.yaml").write_text(text, encoding="utf-8")

    config = project.path / "conf/config.yaml"
    text = config.read_text("utf-8").replace("- data: digits", f"- data: {name}")
    model = recipe.model
    if project.framework == "scikit-learn":
        model = "ridge" if recipe.target["kind"] == "value" else "logistic_regression"
    config.write_text(re.sub("- model: .+", f"- model: {model}", text), encoding="utf-8")


def add_pretrained(project: Project, recipe: Recipe) -> None:
    """Bring in a pretrained model in a folder, as docs/your-own.md says."""
    project.run("python", "-c", recipe.pretrained)
    folder = f"data/{recipe.model}"
    project.run("dvc", "add", "--quiet", folder)
    file = f"conf/model/{recipe.model}.yaml"
    shown = (project.path / "docs/your-own.md").read_text("utf-8").partition(f"# {file}")[2]
    text = shown.partition("\n")[2].partition("```")[0]
    assert folder in text
    (project.path / file).write_text(text, encoding="utf-8")
    pipeline = project.path / "dvc.yaml"
    text = pipeline.read_text("utf-8")
    for first in ("      - data/prepared\n", "      - runs/train/model.ckpt\n"):
        text = text.replace(f"    deps:\n{first}", f"    deps:\n{first}      - {folder}\n", 1)
    assert text.count(folder) == 2
    pipeline.write_text(text, encoding="utf-8")


@pytest.fixture
def served(project: Project) -> Iterator[Serving]:
    (project.path / ".env").write_text("SERVING_LOG_EVERY=1\n")
    with serving(project) as running:
        yield running


def test_it_is_measured_and_reported_by_what_applies(project: Project, recipe: Recipe) -> None:
    metrics = project.json("reports/metrics.json")
    name, low, high = recipe.metric
    assert low <= metrics[name] <= high
    assert ("accuracy" in metrics) == (recipe.target["kind"] == "classes")
    project.inv("report")
    page = (project.path / "reports/report.html").read_text("utf-8")
    shown = set(re.findall(r"<h[23][^>]*>([^<]+?)\s*</h[23]>", page))
    assert recipe.sections <= shown
    assert not ((CLASSES | {"Residuals"}) - recipe.sections) & shown


def test_its_page_takes_what_a_person_gives_and_drift_compares_it(
    served: Serving, project: Project, recipe: Recipe, browser: Browser
) -> None:
    problems: list[str] = []
    with urllib.request.urlopen(f"{served.url}/v2/models/model") as got:
        samples = json.load(got)["parameters"]["samples"]
    page = browser.new_page(viewport={"width": 360, "height": 800})
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(served.url)
    verdict = page.locator(".verdict strong")
    right = 0
    for number in range(8):
        page.locator("#gallery button").nth(number).click()
        expect(verdict).not_to_have_text("")
        page.wait_for_timeout(200)
        shown, actual = verdict.inner_text(), samples[number]["actual"]
        if recipe.target["kind"] == "value":
            assert shown.endswith(recipe.target["unit"])
            right += abs(float(shown.split()[0].replace(",", "")) - actual) < 3 * recipe.metric[2]
        else:
            right += shown == actual
    assert right >= 6
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    kinds = {declared["kind"] for declared in recipe.inputs.values()}
    assert page.locator(".fields").count() == ("features" in kinds)
    assert page.locator("textarea").count() == ("text" in kinds)
    assert page.locator("input[type=file]").count() == ("image" in kinds)
    page.close()
    assert problems == []

    project.run("python", "-c", SEND, f"{served.url}/v2/models/model")


@pytest.mark.weekly  # minutes for each
def test_drift_notebook_tests_and_check_know_the_data(project: Project, recipe: Recipe) -> None:
    printed = project.inv("monitor.drift")
    assert re.search(rf"^{re.escape(recipe.column)}\s", printed, re.MULTILINE)
    options = ["--execute", "--to", "notebook", "--output", "executed.ipynb"]
    project.run("jupyter", "nbconvert", *options, "notebooks/last_run.ipynb")
    project.inv("check", "--fix")
    project.inv("check")
    assert " passed" in project.inv("test")
