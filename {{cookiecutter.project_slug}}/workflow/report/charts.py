"""Charts of the report, laid out here and drawn by charts.html.jinja as SVG."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..deciding_metric import DecidingMetric
from ..results import History, best_epoch, metric_text

Tick = tuple[float, str]  # position and label
Point = tuple[float, float, str]  # x, y, and what it says when it is pointed at

# Of the drawing, and of the room around the plot for labels; the page scales them.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 250, 54, 14, 22, 36


@dataclass(frozen=True)
class Line:
    """A curve in a chart's coordinates.

    Args:
        style: the same number for the same split, as in `train/loss` and `train/accuracy`.
    """

    name: str
    style: int
    points: list[Point]


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram in a chart's coordinates."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True)
class Chart:
    """What is drawn, in coordinates of the drawing.

    Args:
        note: unit and scale of the vertical axis.
        summary: the chart in words, for those who do not see it.
        diagonal: from where to where a line of equal values runs.
        mark: position and text of a vertical line.
    """

    title: str
    note: str
    x_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    summary: str
    lines: list[Line] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    diagonal: tuple[float, float, float, float] | None = None
    mark: Tick | None = None

    width, height, left, right = WIDTH, HEIGHT, LEFT, WIDTH - RIGHT
    top, floor = TOP, HEIGHT - BOTTOM


@dataclass(frozen=True)
class Axis:
    """Places values from its first tick to its last between two coordinates."""

    ticks: Sequence[float]
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        scale: Callable[[float], float] = math.log10 if self.logarithmic else float
        low, high = scale(self.ticks[0]), scale(self.ticks[-1])
        fraction = (scale(value) - low) / (high - low) if high > low else 0.5
        return round(self.start + fraction * (self.end - self.start), 1)

    def labels(self) -> list[Tick]:
        return [(self(tick), f"{tick:g}") for tick in self.ticks]


def horizontal(ticks: Sequence[float]) -> Axis:
    return Axis(ticks, Chart.left, Chart.right)


def vertical(ticks: Sequence[float], logarithmic: bool = False) -> Axis:
    return Axis(ticks, Chart.floor, Chart.top, logarithmic)


def learning_curves(history: History, metric: DecidingMetric | None) -> list[Chart]:
    """Return a chart for each metric, with `train/loss` and `val/loss` in the same.

    Where there is one epoch, or none, there is no curve to draw.
    """
    if max(map(len, history.values()), default=0) < 2:
        return []
    splits = list(dict.fromkeys(name.rpartition("/")[0] for name in history))
    best = best_epoch(history, metric)
    curves: dict[str, History] = {}
    for name, values in history.items():
        curves.setdefault(name.rpartition("/")[2], {})[name] = values
    return [_learning_curve(name, named, splits, best) for name, named in curves.items()]


def _learning_curve(metric: str, curves: History, splits: Sequence[str], best: int | None) -> Chart:
    """Lay out the curves of one metric, by epoch from 1; on a logarithmic scale if that helps."""
    epochs = max(map(len, curves.values()))
    values = [value for curve in curves.values() for value in curve if math.isfinite(value)]
    low, high = min(values, default=0.0), max(values, default=1.0)
    logarithmic = low > 0 and high / low > 20
    x = horizontal([1, epochs])
    y = vertical(log_ticks(low, high) if logarithmic else linear_ticks(low, high), logarithmic)

    def line(name: str, curve: list[float]) -> Line:
        points = [
            (x(epoch), y(value), f"epoch {epoch}, {name} {metric_text(value)}")
            for epoch, value in enumerate(curve, start=1)
            if math.isfinite(value)
        ]
        return Line(name, splits.index(name.rpartition("/")[0]), points)

    lines = [line(name, curve) for name, curve in curves.items()]
    ends = [f"the last: {line.points[-1][2]}" for line in lines if line.points]
    return Chart(
        title=metric,
        note="logarithmic scale" if logarithmic else "",
        x_label="epoch",
        x_ticks=[(x(tick), f"{tick:g}") for tick in epoch_ticks(epochs)],
        y_ticks=y.labels(),
        summary="; ".join(
            [f"{metric} by epoch", *ends, *([f"the best is epoch {best}"] if best else [])]
        ),
        lines=lines,
        mark=(x(best), f"best epoch: {best}") if best else None,
    )


def reliability(bins: Sequence[dict[str, float]]) -> Chart:
    """Draw how often answers of each confidence are right; on the diagonal they are calibrated."""
    x, y = horizontal(linear_ticks(0, 1)), vertical(linear_ticks(0, 1))
    points = [
        (
            x(one["confidence"]),
            y(one["accuracy"]),
            f"{one['samples']:,} samples of confidence {one['confidence']:.0%}:"
            f" {one['accuracy']:.0%} right",
        )
        for one in bins
    ]
    return Chart(
        title="Reliability",
        note="fraction of answers that are right",
        x_label="confidence",
        x_ticks=x.labels(),
        y_ticks=y.labels(),
        summary="; ".join(["right answers by confidence", *(text for *_, text in points)]),
        lines=[Line("test", 1, points)],
        diagonal=(x(0), y(0), x(1), y(1)),
    )


def predicted_by_actual(actual: Sequence[float], predicted: Sequence[float], name: str) -> Chart:
    """Draw a dot for each sample; on the diagonal the prediction is right.

    Args:
        name: what the values are, and their unit.
    """
    values = [value for value in (*actual, *predicted) if math.isfinite(value)]
    ticks = linear_ticks(min(values, default=0.0), max(values, default=1.0))
    x, y = horizontal(ticks), vertical(ticks)
    points = [
        (x(one), y(other), f"actual {metric_text(one)}, predicted {metric_text(other)}")
        for one, other in zip(actual, predicted, strict=True)
        if math.isfinite(one) and math.isfinite(other)
    ]
    return Chart(
        title="Predicted by actual",
        note=f"predicted {name}",
        x_label=f"actual {name}",
        x_ticks=x.labels(),
        y_ticks=y.labels(),
        summary=f"predicted by actual {name}: {len(points)} samples",
        points=points,
        diagonal=(x(ticks[0]), y(ticks[0]), x(ticks[-1]), y(ticks[-1])),
    )


def histogram(edges: Sequence[float], counts: Sequence[int], title: str, x_label: str) -> Chart:
    """Draw how many samples have a value between each two edges."""
    ticks = linear_ticks(edges[0], edges[-1])
    x, y = horizontal(ticks), vertical(linear_ticks(0, max(counts, default=1)))
    bars = [
        Bar(
            x=x(low),
            y=y(count),
            width=round(max(x(high) - x(low) - 1, 0.5), 1),
            height=round(Chart.floor - y(count), 1),
            text=f"{metric_text(low)} to {metric_text(high)}: {count:,} samples",
        )
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    return Chart(
        title=title,
        note="samples",
        x_label=x_label,
        x_ticks=x.labels(),
        y_ticks=y.labels(),
        summary="; ".join([f"samples by {x_label}", *(bar.text for bar in bars)]),
        bars=bars,
        mark=(x(0), "0") if edges[0] < 0 < edges[-1] else None,
    )


def linear_ticks(low: float, high: float, limit: int = 5) -> list[float]:
    """Return round values, evenly spaced, the first not above `low`, the last not below `high`."""
    span = (high - low) or abs(low) or 1.0
    power = 10 ** math.floor(math.log10(span / limit))
    step = next((power * m for m in (1, 2, 5) if span / (power * m) <= limit), power * 10)
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
