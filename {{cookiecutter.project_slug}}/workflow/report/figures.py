"""The figures at the top of the report."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..deciding_metric import DecidingMetric
from ..paths import MODEL
from ..results import History, best_epoch, metric_text
from .sections import Section

Figure = tuple[str, str, str]  # name, value, and what to know about it

BETTER = {"min": "decides: less is better", "max": "decides: more is better"}


def figures(
    metrics: Mapping[str, float],
    sections: Sequence[Section],
    history: History,
    metric: DecidingMetric | None,
    kept_by: DecidingMetric | None,
    model: Path,
) -> list[Figure]:
    """Return the figures of a result.

    Args:
        metric: that decides between results.
        kept_by: that decided which epoch was kept; None where it was the last.
    """
    result = [
        (f"Test {name}", metric_text(value), _note(name, metric)) for name, value in metrics.items()
    ]
    result += [figure for section in sections if (figure := _samples(section))]
    epochs = max(map(len, history.values()), default=0)
    best = best_epoch(history, kept_by)
    if epochs > 1:
        result.append(("Epochs", str(epochs), f"number {best} was the best" if best else ""))
    result.append(("Model file", size_text(model.stat().st_size), MODEL.as_posix()))
    return result


def interval(count: int, samples: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's score interval of a fraction; it holds for few samples and near 1 too."""
    if not samples:
        return 0.0, 1.0
    fraction = count / samples
    scale = 1 + z**2 / samples
    middle = (fraction + z**2 / (2 * samples)) / scale
    spread = z * math.sqrt(fraction * (1 - fraction) / samples + z**2 / (4 * samples**2)) / scale
    return max(0.0, middle - spread), min(1.0, middle + spread)


def size_text(size: int) -> str:
    units = ["B", "KiB", "MiB", "GiB"]
    power = min(int(math.log(max(size, 1), 1024)), len(units) - 1)
    value = size / 1024**power
    return f"{value:.1f} {units[power]}" if power and value < 10 else f"{value:.0f} {units[power]}"


def _note(name: str, metric: DecidingMetric | None) -> str:
    return BETTER[metric.mode] if metric and metric.name == name else ""


def _samples(section: Section) -> Figure | None:
    if section["kind"] == "confusion_matrix":
        counts = section["counts"]
        samples = sum(map(sum, counts))
        wrong = samples - sum(row[index] for index, row in enumerate(counts))
        fraction, (low, high) = wrong / max(samples, 1), interval(wrong, samples)
        note = (
            f"{wrong:,} wrong: {100 * fraction:.1f} %, 95 % CI {100 * low:.1f} to {100 * high:.1f}"
        )
        return "Test samples", f"{samples:,}", note
    if section["kind"] == "residuals":
        return "Test samples", f"{section['samples']:,}", ""
    return None
