"""The report shows what lies in the folder, opens without a network and escapes what it shows."""

import json
from collections import Counter
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import pytest
from matplotlib.image import imsave
from workflow.paths import (
    CLASS_METRICS,
    HISTORY,
    METRICS,
    MODEL,
    PARAMS,
    PREDICTIONS,
    WORST_MISTAKES,
)
from workflow.report import report
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
        self.texts += [data.strip()] if data.strip() else []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with what the pipeline leaves: two epochs, ten samples, one of them wrong."""
    config = {"seed": 7, "note": SCRIPT}
    provenance = {
        "git": {"commit": "c0ffee" + 34 * "0", "dirty": True},
        "data": {"data/raw": "d41d8cd9.dir"},
        "config": sha256(json.dumps(config, sort_keys=True).encode()),
        "image": None,
        "run": {"id": "abc123", "path": "team/abc123"},
    }
    measures = {"precision": 0.875, "recall": 1.0, "f1": 0.9333, "samples": 5.0}
    metrics = {"accuracy": 0.9, "loss": 0.3125}
    pairs = [*5 * [("cat", "cat")], *4 * [("dog", "dog")], ("dog", "cat")]
    texts = {
        Path("pyproject.toml"): '[project]\nname = "digits & more"\n',
        PARAMS: json.dumps(config),  # JSON is YAML
        METRICS: json.dumps(metrics),
        CLASS_METRICS: json.dumps({"cat": measures, "dog": measures}),
        PREDICTIONS: "\n".join(
            ["actual,predicted,confidence", *(f"{a},{p},0.5" for a, p in pairs)]
        ),
        HISTORY: "epoch,train/loss,val/loss,val/accuracy\n0,1.5,0.5,0.8\n1,0.02,0.6,\n",
    }
    for path, text in texts.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    imsave(tmp_path / WORST_MISTAKES, np.zeros((2, 2, 3)))
    (tmp_path / MODEL).parent.mkdir()
    graph = onnx.helper.make_graph([], "empty", [], [])
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, {"provenance": json.dumps(provenance)})
    onnx.save(model, tmp_path / MODEL)
    return tmp_path


def experiment(name: str, accuracy: float | None, **params: object) -> Row:
    return Row(
        kind="experiment",
        name=name,
        revision=name,
        when=datetime(2026, 1, 2, 3, 4),
        state="failed" if accuracy is None else "success",
        params=params,
        metrics={} if accuracy is None else {"accuracy": accuracy},
    )


def test_page_contains_the_numbers(project: Path) -> None:
    path = report.write(project)
    assert path == project / report.REPORT
    page = Page(path.read_text(encoding="utf-8"))
    for text in (
        "digits & more",
        "90.0 %",
        "95 % CI: 59.6 to 98.2",
        "0.3125",
        "1 of them wrong",
        "best epoch: 1",
        "0.933",
        "d41d8cd9.dir",
        "team/abc123",
    ):
        assert text in page.texts
    assert "changed" not in page.texts, "params.yaml is what the model was trained with"
    assert page.tags["h1"] == 1


def test_page_loads_nothing(project: Path) -> None:
    source = report.write(project).read_text(encoding="utf-8")
    page = Page(source)
    assert len(page.loaded) == 1
    assert page.loaded[0].startswith("data:image/png;base64,")
    assert not page.tags["script"]
    assert not page.tags["link"]
    assert "://" not in source
    assert "url(" not in source
    assert "@import" not in source


def test_text_from_outside_is_escaped(project: Path) -> None:
    with (project / PREDICTIONS).open("a", encoding="utf-8") as file:
        file.write(f"\ncat,{SCRIPT},0.5\n")
    rows = [experiment(SCRIPT, 0.5, note="a"), experiment("b", 0.6, note=SCRIPT)]
    page = Page(report.render(report.collect(project, rows)))
    assert not page.tags["script"]
    assert page.texts.count(SCRIPT) >= 3  # a class, an experiment, a parameter


def test_experiments_are_compared(project: Path) -> None:
    rows = [
        experiment("slow", 0.5, lr=0.1, seed=0),
        experiment("fast", 0.75, lr=0.3, seed=0),
        experiment("broken", None, lr=-1, seed=0),
    ]
    table = report.experiments_table(rows)
    assert table is not None
    assert table["params"] == ["lr"]
    assert [row["params"] for row in table["rows"]] == [["0.1"], ["0.3"], ["-1"]]
    assert [row["metrics"] for row in table["rows"]] == [["0.5000"], ["0.7500"], ["-"]]
    assert [row["best"] for row in table["rows"]] == [False, True, False]
    page = Page(report.render(report.collect(project, rows)))
    for text in ("slow", "fast", "best", "failed"):
        assert text in page.texts


def test_one_experiment_is_not_compared(project: Path) -> None:
    assert report.experiments_table([experiment("only", 0.5)]) is None


def test_changed_config_is_said(project: Path) -> None:
    (project / PARAMS).write_text("seed: 8\n", encoding="utf-8")
    page = Page(report.write(project).read_text(encoding="utf-8"))
    assert "changed" in page.texts


def test_same_inputs_same_page(project: Path) -> None:
    first = report.write(project).read_bytes()
    assert report.write(project).read_bytes() == first


@pytest.mark.parametrize("missing", report.INPUTS)
def test_missing_input_is_one_line(
    missing: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / missing).unlink()
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit, match=f"^report: {missing.as_posix()} is missing: inv train"):
        report.main([])
    assert not list(project.glob("reports/report*"))


def test_confusion_counts_by_actual_and_predicted() -> None:
    predictions = Counter({("a", "a"): 3, ("a", "b"): 2, ("b", "b"): 4, ("b", "c"): 5})
    confusion = report.Confusion.of(predictions, ["b", "a"])
    assert confusion.classes == ["b", "a", "c"]
    assert confusion.counts == [[4, 0, 5], [2, 3, 0], [0, 0, 0]]
    assert confusion.frequent == [("b", "c", 5), ("a", "b", 2)]


def test_many_classes_are_not_drawn_as_a_matrix(project: Path) -> None:
    lines = [f"{i},{i + 1},0.5" for i in range(100)]
    text = "\n".join(["actual,predicted,confidence", *lines])
    (project / PREDICTIONS).write_text(text, encoding="utf-8")
    page = Page(report.render(report.collect(project, [])))
    assert page.tags["td"] < 100


def test_best_epoch_is_the_one_whose_checkpoint_is_kept() -> None:
    assert report.best_epoch({"val/loss": [0.5, float("nan"), 0.25, 0.25]}) == 3
    assert report.best_epoch({"train/loss": [0.5]}) is None


def test_curves_stay_inside_the_chart() -> None:
    history = {"train/loss": [2.0, 0.5, 1e-4], "val/loss": [1.0, float("nan"), 0.3]}
    (chart,) = report.charts(history)
    assert "logarithmic" in chart.unit
    assert [line.name for line in chart.lines] == ["train/loss", "val/loss"]
    assert [len(line.dots) for line in chart.lines] == [3, 2], "a missing value is left out"
    for line in chart.lines:
        for x, y, _ in line.dots:
            assert chart.left <= x <= chart.width - chart.right
            assert chart.top <= y <= chart.height - chart.bottom


@pytest.mark.parametrize("values", [[0.5], [0.0, 0.0], [-3.0, 4.0], [], [1e-9, 1e-3], [0.95, 0.95]])
def test_any_history_can_be_drawn(values: list[float]) -> None:
    (chart,) = report.charts({"val/loss": values})
    positions = [y for y, _ in chart.y_ticks]
    assert positions == sorted(positions, reverse=True)
    assert 2 <= len(positions) <= 12


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.877, 0.948, [0.86, 0.88, 0.9, 0.92, 0.94, 0.96]),
        (1, 20, [0, 5, 10, 15, 20]),
    ],
)
def test_linear_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert report.linear_ticks(low, high) == ticks


def test_interval_of_a_share() -> None:
    assert report.interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Wilson, 1927
    assert report.interval(10, 10)[1] == 1.0


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (57261, "56 KiB"), (5 * 2**20, "5.0 MiB")]
)
def test_size_text(size: int, text: str) -> None:
    assert report.size_text(size) == text
