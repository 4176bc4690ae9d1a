"""What came out, as one page that opens anywhere: reports/report.html.

The page loads nothing, from the network or beside it. The same inputs give the same page.
"""

import argparse
import base64
import csv
import json
import math
import re
import tomllib
import webbrowser
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .. import files
from ..git import GitError
from ..onnx_file import read_provenance
from ..paths import (
    CLASS_METRICS,
    HISTORY,
    METRICS,
    MODEL,
    PARAMS,
    PREDICTIONS,
    REPORTS,
    WORST_MISTAKES,
)
from ..runs import experiments
from ..tracking.provenance import sha256

REPORT = REPORTS / "report.html"
INPUTS = (METRICS, CLASS_METRICS, PREDICTIONS, WORST_MISTAKES, HISTORY, MODEL, PARAMS)
KEPT_BY = "val/loss"  # the checkpoint of the epoch where it is least is the model
UNITS = {"loss": "nats", "accuracy": "share of the samples"}
MOST_CLASSES = 40  # a larger matrix cannot be read; the frequent confusions still can
PROVENANCE = {
    "git": "Git commit",
    "data": "Data (DVC hashes)",
    "config": "Config (SHA-256)",
    "lock": "uv.lock (SHA-256)",
    "image": "Image",
    "seed": "Seed",
    "python": "Python",
    "platform": "Platform",
    "accelerator": "Accelerator",
    "precision": "Precision",
    "threads": "Threads",
    "run": "W&B run",
}


class ReportError(Exception):
    """The report cannot be written."""


@dataclass(frozen=True)
class Line:
    """A curve in a chart's coordinates; `dots` are (x, y, what it says).

    Args:
        style: the same number for the same split, as in `train/loss` and `train/accuracy`.
    """

    name: str
    style: int
    dots: list[tuple[float, float, str]]


@dataclass(frozen=True)
class Chart:
    """Curves over epochs, drawn by the template; ticks are (position, label)."""

    title: str
    unit: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    best: tuple[float, int] | None  # position and number of the epoch that was kept

    # Of the drawing, and of the room around it for labels; the page scales them.
    width, height, left, right, top, bottom = 440, 250, 54, 14, 22, 36


def write(root: Path = Path()) -> Path:
    """Write the report of what lies in a project's folder.

    Raises:
        ReportError: a file that the report is about is missing; nothing is written.
    """
    for path in INPUTS:
        if not (root / path).exists():
            raise ReportError(f"{path.as_posix()} is missing: inv train first")
    try:
        rows = experiments.read(root)
    except experiments.ExperimentsError:
        rows = []  # not in Git or DVC: there is still a result to show
    page = render(collect(root, rows))
    files.replace(root / REPORT, page)
    return root / REPORT


def render(context: dict[str, Any]) -> str:
    """Return the page; every text in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A long dotted name may break after its separators.
    environment.filters["breakable"] = lambda name: re.findall(r"[^./_]+[./_]?|[./_]", name)
    return environment.get_template("report.html.jinja").render(context)


def collect(root: Path, rows: Sequence[experiments.Row]) -> dict[str, Any]:
    """Return what the template shows."""
    metrics = json.loads((root / METRICS).read_text(encoding="utf-8"))
    classes = json.loads((root / CLASS_METRICS).read_text(encoding="utf-8"))
    history = read_history(root / HISTORY)
    predictions = read_predictions(root / PREDICTIONS)
    config = (root / PARAMS).read_text(encoding="utf-8")
    made_from = read_provenance(root / MODEL)
    config_hash = sha256(json.dumps(yaml.safe_load(config), sort_keys=True).encode())
    here = experiments.current(rows)
    evaluated = datetime.fromtimestamp((root / METRICS).stat().st_mtime)
    return {
        "project": project_name(root),
        # A clone has new file times; a commit knows when it was made.
        "when": here.when if here and here.when else evaluated,
        "here": here,
        "headline": headline(metrics, predictions, history, root / MODEL),
        "charts": charts(history),
        "confusion": Confusion.of(predictions, list(classes)),
        "classes": classes,
        "worst_mistakes": base64.b64encode((root / WORST_MISTAKES).read_bytes()).decode(),
        "experiments": experiments_table(rows),
        "made_from": made_from,
        "labels": PROVENANCE,
        "config": config,
        "config_changed": config_hash != made_from.get("config"),
    }


def project_name(root: Path) -> str:
    """Return the name as people read it, the heading of the README; else the distribution's."""
    readme = root / "README.md"
    if readme.exists():
        heading = readme.read_text(encoding="utf-8").partition("\n")[0]
        if heading.startswith("# "):
            return heading.removeprefix("# ").strip()
    pyproject = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return pyproject["project"]["name"]


def read_history(path: Path) -> dict[str, list[float]]:
    """Return the values of each epoch by measure; one that was not taken is NaN."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
        names = [name for name in reader.fieldnames or [] if name != "epoch"]
    return {name: [float(row[name] or "nan") for row in rows] for name in names}


def read_predictions(path: Path) -> Counter[tuple[str, str]]:
    """Return how many samples there are of each actual and predicted class."""
    with path.open(newline="", encoding="utf-8") as file:
        return Counter((row["actual"], row["predicted"]) for row in csv.DictReader(file))


def headline(
    metrics: dict[str, Any],
    predictions: Counter[tuple[str, str]],
    history: dict[str, list[float]],
    model: Path,
) -> list[tuple[str, str, str]]:
    """Return (name, value, what to know about it) of the figures at the top."""
    samples = predictions.total()
    right = sum(count for (actual, predicted), count in predictions.items() if actual == predicted)
    figures = []
    for name, value in metrics.items():
        if isinstance(value, dict):
            continue
        if name == "accuracy":
            low, high = interval(right, samples)
            note = f"95 % CI: {100 * low:.1f} to {100 * high:.1f}"
            figures.append(("Test accuracy", f"{100 * value:.1f} %", note))
        else:
            figures.append((f"Test {name}", experiments.metric_text(value), UNITS.get(name, "")))
    figures.append(("Test samples", f"{samples:,}", f"{samples - right:,} of them wrong"))
    epochs = max(map(len, history.values()), default=0)
    kept = best_epoch(history)
    figures.append(("Epochs", str(epochs), f"number {kept} was kept" if kept else ""))
    figures.append(("Model file", size_text(model.stat().st_size), MODEL.as_posix()))
    return figures


def interval(right: int, samples: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's score interval of a share, which holds for few samples and near 1 too."""
    if not samples:
        return 0.0, 1.0
    share = right / samples
    scale = 1 + z**2 / samples
    middle = (share + z**2 / (2 * samples)) / scale
    spread = z * math.sqrt(share * (1 - share) / samples + z**2 / (4 * samples**2)) / scale
    return max(0.0, middle - spread), min(1.0, middle + spread)


def size_text(size: int) -> str:
    units = ["B", "KiB", "MiB", "GiB"]
    power = min(int(math.log(max(size, 1), 1024)), len(units) - 1)
    value = size / 1024**power
    return f"{value:.1f} {units[power]}" if power and value < 10 else f"{value:.0f} {units[power]}"


def best_epoch(history: dict[str, list[float]]) -> int | None:
    """Return the number, from 1, of the epoch that was kept."""
    values = [value for value in history.get(KEPT_BY, []) if math.isfinite(value)]
    return history[KEPT_BY].index(min(values)) + 1 if values else None


def charts(history: dict[str, list[float]]) -> list[Chart]:
    """Return a chart for each measure, with `train/loss` and `val/loss` in the same."""
    splits = list(dict.fromkeys(name.rpartition("/")[0] for name in history))
    best = best_epoch(history)
    curves: dict[str, dict[str, list[float]]] = {}
    for name, values in history.items():
        curves.setdefault(name.rpartition("/")[2], {})[name] = values
    return [chart(measure, of_measure, splits, best) for measure, of_measure in curves.items()]


def chart(
    measure: str, curves: dict[str, list[float]], splits: Sequence[str], best: int | None
) -> Chart:
    """Lay out the curves of one measure, by epoch from 1; on a logarithmic scale if that helps."""
    epochs = max(map(len, curves.values()))
    values = [value for curve in curves.values() for value in curve if math.isfinite(value)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    logarithmic = low > 0 and high / low > 20
    ticks = log_ticks(low, high) if logarithmic else linear_ticks(low, high)
    scale = math.log10 if logarithmic else float

    def x(epoch: float) -> float:
        share = (epoch - 1) / (epochs - 1) if epochs > 1 else 0.5
        return round(Chart.left + share * (Chart.width - Chart.left - Chart.right), 1)

    def y(value: float) -> float:
        share = (scale(value) - scale(ticks[0])) / (scale(ticks[-1]) - scale(ticks[0]))
        return round(Chart.height - Chart.bottom - share * _plot_height(), 1)

    def line(name: str, curve: list[float]) -> Line:
        dots = [
            (x(epoch), y(value), f"epoch {epoch}, {name} {experiments.metric_text(value)}")
            for epoch, value in enumerate(curve, start=1)
            if math.isfinite(value)
        ]
        return Line(name, splits.index(name.rpartition("/")[0]), dots)

    unit = UNITS.get(measure, "")
    return Chart(
        title=measure.capitalize(),
        unit=", ".join(part for part in (unit, "logarithmic scale" * logarithmic) if part),
        lines=[line(name, curve) for name, curve in curves.items()],
        x_ticks=[(x(tick), f"{tick:g}") for tick in epoch_ticks(epochs)],
        y_ticks=[(y(tick), f"{tick:g}") for tick in ticks],
        best=(x(best), best) if best else None,
    )


def linear_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round values, evenly spaced, the first not above `low`, the last not below `high`."""
    span = (high - low) or abs(low) or 1.0
    power = 10 ** math.floor(math.log10(span / most))
    step = next((power * m for m in (1, 2, 5) if span / (power * m) <= most), power * 10)
    first, last = math.floor(low / step), math.ceil(high / step)
    if first == last:
        last += 1
    # Rounded, because 3 * 0.1 is not 0.3.
    return [float(f"{step * i:.12g}") for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten from below `low` to above `high`; of few of them, 2 and 5 times too."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 3 else (1,)
    ticks = [float(f"{factor}e{power}") for power in powers for factor in factors]
    first = max((i for i, tick in enumerate(ticks) if tick <= low), default=0)
    last = min((i for i, tick in enumerate(ticks) if tick >= high), default=len(ticks) - 1)
    return ticks[first : last + 1]


def epoch_ticks(epochs: int) -> list[float]:
    ticks = linear_ticks(1, max(2, epochs))
    return [tick for tick in ticks if tick == int(tick) and 1 <= tick <= epochs]


def _plot_height() -> int:
    return Chart.height - Chart.bottom - Chart.top


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix: rows are actual, columns predicted classes."""

    classes: list[str]
    counts: list[list[int]]
    frequent: list[tuple[str, str, int]]  # actual, predicted, how often: the wrong ones

    @classmethod
    def of(
        cls, predictions: Counter[tuple[str, str]], classes: Sequence[str] = (), most: int = 8
    ) -> Self:
        """Count predictions; `classes` gives the order, others that occur follow."""
        names = list(dict.fromkeys([*classes, *sorted({c for pair in predictions for c in pair})]))
        wrong = [(*pair, n) for pair, n in sorted(predictions.items()) if pair[0] != pair[1]]
        return cls(
            names,
            [[predictions[actual, predicted] for predicted in names] for actual in names],
            sorted(wrong, key=lambda confusion: -confusion[2])[:most],
        )

    @property
    def readable(self) -> bool:
        return len(self.classes) <= MOST_CLASSES


def experiments_table(rows: Sequence[experiments.Row]) -> dict[str, Any] | None:
    """Return the table of experiments as texts, or None where there is nothing to compare."""
    shown = experiments.comparable(rows)
    if len(shown) < 2:
        return None
    here, top = experiments.current(rows), experiments.best(shown)
    params, metrics = experiments.differing(shown), experiments.measures(shown)
    return {
        "params": [experiments.param_label(name) for name in params],
        "metrics": metrics,
        "failed": any(row.state == "failed" for row in shown),
        "rows": [
            {
                "row": row,
                "here": row is here,
                "best": top is not None and row.metrics.get(experiments.BEST) == top,
                "params": [experiments.param_text(row.params, name) for name in params],
                "metrics": [experiments.metric_text(row.metrics.get(name)) for name in metrics],
            }
            for row in shown
        ],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write reports/report.html.")
    parser.add_argument("--show", action="store_true", help="open it in the browser")
    show = parser.parse_args(arguments).show
    try:
        path = write()
    except (GitError, ReportError) as error:
        raise SystemExit(f"report: {error}") from None
    print(f"{path.as_posix()} written, {size_text(path.stat().st_size)}")
    if show:
        webbrowser.open(path.resolve().as_uri())


if __name__ == "__main__":
    main()
