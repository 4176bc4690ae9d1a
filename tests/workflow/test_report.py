"""The report shows what lies in the folder, opens without a network and escapes what it shows."""

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import pytest
from matplotlib.image import imsave
from workflow.deciding_metric import DecidingMetric
from workflow.paths import HISTORY, METRICS, MODEL, PARAMS, PICTURES, SECTIONS
from workflow.report import __main__, charts, comparison, figures, page, sections
from workflow.runs.experiments import Row
from workflow.tracking.provenance import sha256

SCRIPT = "<script>alert(1)</script>"
VOID = {"meta", "img", "wbr"}  # elements that have no end


class Page(HTMLParser):
    """Collects what a page would load and its text, and checks that elements are closed."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.texts: list[str] = []
        self.tags: Counter[str] = Counter()
        self.open: list[str] = []
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.loaded += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open[-1:] != ["style"]:
            self.texts.append(data.strip())


# What an evaluation may write of ten samples, one of them wrong; of values; and of a user's own.
RIGHT = np.array(5 * [0] + 5 * [1])
ANSWERED = np.array(5 * [0] + 4 * [1] + [0])
CLASSIFICATION = [
    sections.confusion_matrix(RIGHT, ANSWERED, ["cat", "dog"]),
    sections.class_metrics(RIGHT, ANSWERED, ["cat", "dog"]),
    sections.calibration(RIGHT, np.eye(2)[ANSWERED] * 0.8 + 0.1),
    {"kind": "mistakes_pictures", "file": (PICTURES / "worst_mistakes.png").as_posix()},
]
VALUES = np.linspace(-5, 5, 50)
REGRESSION = [
    sections.residuals(VALUES, VALUES + np.sin(VALUES), "progression", "points"),
    {"kind": "mistakes_rows", "columns": ["actual", "comment"], "rows": [[3.25, SCRIPT]]},
]
OWN = [
    {"kind": "slowest_samples", "columns": ["name", "seconds"], "rows": [["a", 0.25]]},
    {"kind": "remarks", "text": SCRIPT},
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with what the pipeline leaves: two epochs, and a classification of ten samples."""
    config = {"seed": 7, "note": SCRIPT, "metric": {"name": "loss", "mode": "min"}}
    provenance = {
        "git": {"commit": "c0ffee" + 34 * "0", "dirty": True},
        "data": {"data/raw": "d41d8cd9.dir"},
        "config": sha256(json.dumps(config, sort_keys=True).encode()),
        "image": None,
        "run": {"id": "abc123", "path": "team/abc123"},
    }
    texts = {
        Path("pyproject.toml"): '[project]\nname = "digits & more"\n',
        PARAMS: json.dumps(config),  # JSON is YAML
        METRICS: json.dumps({"accuracy": 0.9, "loss": 0.3125}),
        SECTIONS: json.dumps(CLASSIFICATION),
        HISTORY: "epoch,train/loss,val/loss,val/accuracy\n0,1.5,0.5,0.8\n1,0.02,0.6,\n",
    }
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    (tmp_path / PICTURES).mkdir()
    imsave(tmp_path / PICTURES / "worst_mistakes.png", np.zeros((2, 2, 3)))
    (tmp_path / MODEL).parent.mkdir()
    graph = onnx.helper.make_graph([], "empty", [], [])
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, {"provenance": json.dumps(provenance)})
    onnx.save(model, tmp_path / MODEL)
    return tmp_path


def evaluated(project: Path, metrics: dict[str, float], shown: list[dict]) -> Page:
    """Return the page of another evaluation."""
    (project / METRICS).write_text(json.dumps(metrics), encoding="utf-8")
    (project / SECTIONS).write_text(json.dumps(shown), encoding="utf-8")
    return Page(page.render(page.collect(project, [])))


def experiment(name: str, mae: float | None, **params: object) -> Row:
    return Row(
        kind="experiment",
        name=name,
        revision=name,
        when=datetime(2026, 1, 2, 3, 4),
        state="failed" if mae is None else "success",
        params=params,
        metrics={} if mae is None else {"mae": mae},
    )


def test_page_contains_the_numbers(project: Path) -> None:
    path = page.write(project)
    assert path == project / page.REPORT
    shown = Page(path.read_text(encoding="utf-8"))
    for text in (
        "digits & more",
        "0.9000",
        "0.3125",
        "decides: less is better",
        "1 wrong: 10.0 %, 95 % CI 1.8 to 40.4",
        "best epoch: 1",
        "0.8889",
        "d41d8cd9.dir",
        "team/abc123",
    ):
        assert text in shown.texts
    assert "changed" not in shown.texts, "params.yaml is what the model was trained with"
    assert shown.tags["h1"] == 1


def test_a_regression_shows_residuals_and_nothing_of_classes(project: Path) -> None:
    shown = evaluated(project, {"mae": 41.5, "r2": 0.42}, REGRESSION)
    text = " ".join(shown.texts)
    assert "41.5000" in text
    assert "(predicted progression, points)" in text
    for absent in ("wrong", "class", "Confusion", "CI", "confidence"):
        assert absent not in text.partition("Experiments")[0], absent
    assert shown.tags["rect"] == len(REGRESSION[0]["counts"])
    assert SCRIPT in shown.texts, "a comment, as it was written"


def test_a_section_of_the_users_own_kind_is_a_table_or_text(project: Path) -> None:
    shown = evaluated(project, {"mae": 1.0}, OWN)
    for text in ("Slowest samples", "seconds", "0.25", "Remarks"):
        assert text in shown.texts
    assert any(f'"text": "{SCRIPT}"' in text for text in shown.texts)
    assert not shown.tags["script"]


def test_an_evaluation_without_sections_is_shown(project: Path) -> None:
    shown = evaluated(project, {}, [])
    assert "Learning curves" in shown.texts


def test_page_loads_nothing(project: Path) -> None:
    source = page.write(project).read_text(encoding="utf-8")
    shown = Page(source)
    assert len(shown.loaded) == 1
    assert shown.loaded[0].startswith("data:image/png;base64,")
    assert not shown.tags["script"]
    assert not shown.tags["link"]
    assert "://" not in source
    assert "url(" not in source
    assert "@import" not in source


def test_text_from_outside_is_escaped(project: Path) -> None:
    matrix = sections.confusion_matrix(np.array([0, 1]), np.array([1, 1]), [SCRIPT, "dog"])
    (project / SECTIONS).write_text(json.dumps([matrix]), encoding="utf-8")
    rows = [experiment(SCRIPT, 0.5, note="a"), experiment("b", 0.6, note=SCRIPT)]
    shown = Page(page.render(page.collect(project, rows)))
    assert not shown.tags["script"]
    assert shown.texts.count(SCRIPT) >= 4  # a class, twice; an experiment; a parameter


def test_experiments_are_compared(project: Path) -> None:
    named = {"metric.name": "mae", "metric.mode": "min"}
    rows = [
        experiment("slow", 57.5, lr=0.1, **named),
        experiment("fast", 41.25, lr=0.3, **named),
        experiment("broken", None, lr=-1, **named),
    ]
    here = replace(rows[0], name="workspace", kind="workspace")
    table = comparison.comparison([here, *rows])
    assert table is not None
    assert table["params"] == ["lr"]
    assert [row["params"] for row in table["rows"]] == [["0.1"], ["0.3"], ["-1"]]
    assert [row["metrics"] for row in table["rows"]] == [
        [("57.5000", False)],
        [("41.2500", True)],
        [("-", False)],
    ]
    shown = Page(page.render(page.collect(project, [here, *rows])))
    for text in ("slow", "fast", "best", "failed"):
        assert text in shown.texts


def test_one_experiment_is_not_compared() -> None:
    assert comparison.comparison([experiment("only", 0.5)]) is None


def test_changed_config_is_said(project: Path) -> None:
    (project / PARAMS).write_text("seed: 8\n", encoding="utf-8")
    shown = Page(page.write(project).read_text(encoding="utf-8"))
    assert "changed" in shown.texts
    assert "best epoch: 1" not in shown.texts, "this config names no metric that decides"


def test_same_inputs_same_page(project: Path) -> None:
    first = page.write(project).read_bytes()
    assert page.write(project).read_bytes() == first


@pytest.mark.parametrize("missing", [*page.INPUTS, PICTURES / "worst_mistakes.png"])
def test_missing_input_is_one_line(
    missing: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / missing).unlink()
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit, match=f"^report: {missing.as_posix()} is missing: inv train"):
        __main__.main([])
    assert not list(project.glob("reports/report*"))


def test_the_most_frequent_confusions_come_first() -> None:
    counts = [[4, 0, 5], [2, 3, 0], [0, 0, 0]]
    assert page.confusions(["b", "a", "c"], counts) == [("b", "c", 5), ("a", "b", 2)]


def test_many_classes_are_not_drawn_as_a_matrix(project: Path) -> None:
    classes = [f"class {number}" for number in range(100)]
    target = np.arange(100)
    matrix = sections.confusion_matrix(target, np.roll(target, 1), classes)
    shown = evaluated(project, {}, [matrix])
    assert shown.tags["td"] < 100
    assert "class 99" in shown.texts


def test_curves_stay_inside_the_chart() -> None:
    history = {"train/loss": [2.0, 0.5, 1e-4], "val/loss": [1.0, float("nan"), 0.3]}
    (chart,) = charts.learning_curves(history, DecidingMetric("loss", "max"))
    assert "logarithmic" in chart.note
    assert [line.name for line in chart.lines] == ["train/loss", "val/loss"]
    assert [len(line.points) for line in chart.lines] == [3, 2], "a missing value is left out"
    assert chart.mark == (chart.left, "best epoch: 1")
    for line in chart.lines:
        for x, y, _ in line.points:
            assert chart.left <= x <= chart.right
            assert chart.top <= y <= chart.floor


def test_what_has_no_epochs_has_no_curve_and_no_best_epoch(project: Path) -> None:
    assert charts.learning_curves({"val/loss": [0.5]}, DecidingMetric("loss", "min")) == []
    (project / HISTORY).write_text("epoch,val/loss\n0,0.5\n")
    shown = page.render(page.collect(project, []))
    assert "Learning curves" not in shown
    assert "Epochs" not in shown
    (project / HISTORY).write_text("epoch,val/loss\n0,0.5\n1,0.6\n")
    assert "best epoch: 1" in page.render(page.collect(project, []))
    params = json.loads((project / PARAMS).read_text("utf-8")) | {"framework": "scikit-learn"}
    (project / PARAMS).write_text(json.dumps(params))
    shown = page.render(page.collect(project, []))
    assert "Learning curves" in shown
    assert "best epoch" not in shown, "the last is kept"


@pytest.mark.parametrize("values", [[0.0, 0.0], [-3.0, 4.0], [1e-9, 1e-3], [0.95, 0.95]])
def test_any_history_can_be_drawn(values: list[float]) -> None:
    (chart,) = charts.learning_curves({"val/loss": values}, DecidingMetric("loss", "min"))
    positions = [y for y, _ in chart.y_ticks]
    assert positions == sorted(positions, reverse=True)
    assert 2 <= len(positions) <= 12


@pytest.mark.parametrize("error", [0.0, 1e-9, -3.0, 1e9])
def test_any_residuals_can_be_drawn(error: float) -> None:
    target = np.full(7, 2.5)
    section = page.drawn(sections.residuals(target, target + error, "weight"), Path())
    cloud, bars = section["charts"]
    for x, y, _ in cloud.points:
        assert cloud.left <= x <= cloud.right
        assert cloud.top <= y <= cloud.floor
    for bar in bars.bars:
        assert bars.left <= bar.x <= bar.x + bar.width <= bars.right
        assert bars.top <= bar.y <= bar.y + bar.height <= bars.floor + 0.1
    assert sum(bar.height > 1 for bar in bars.bars) == 1


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.877, 0.948, [0.86, 0.88, 0.9, 0.92, 0.94, 0.96]),
        (1, 20, [0, 5, 10, 15, 20]),
    ],
)
def test_linear_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert charts.linear_ticks(low, high) == ticks


def test_interval_of_a_fraction() -> None:
    assert figures.interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Wilson, 1927
    assert figures.interval(10, 10)[1] == 1.0


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (57261, "56 KiB"), (5 * 2**20, "5.0 MiB")]
)
def test_size_text(size: int, text: str) -> None:
    assert figures.size_text(size) == text
