"""Sections as pictures, for `dvc plots` and W&B, which show no page."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .sections import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

READABLE_CLASSES = 40  # a larger matrix has neither names nor numbers
NUMBERED_CLASSES = 20
LARGEST_CHART = 25  # columns, the most important ones


def draw(section: Section) -> bytes | None:
    """Return a section as PNG; None where its kind has no picture."""
    plot = PLOTS.get(section["kind"])
    if plot is None:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6), layout="constrained")
    plot(figure.subplots(), section)
    return png(figure)


def png(figure: "Figure") -> bytes:
    """Return a figure as PNG, the same bytes for the same figure."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100, metadata={"Software": None})
    return content.getvalue()


def _confusion_matrix(axes: "Axes", section: Section) -> None:
    counts, classes = np.array(section["counts"]), section["classes"]
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="actual", title="Confusion matrix, test split")
    if len(classes) <= READABLE_CLASSES:
        axes.set_xticks(range(len(classes)), classes, rotation=90 * (max(map(len, classes)) > 3))
        axes.set_yticks(range(len(classes)), classes)
    if len(classes) <= NUMBERED_CLASSES:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if fractions[row, column] > 0.5 else "black"
            text = f"{counts[row, column]}"
            axes.text(column, row, text, ha="center", va="center", color=colour)


def _residuals(axes: "Axes", section: Section) -> None:
    label = " ".join(filter(None, [section["label"], section["unit"] and f"({section['unit']})"]))
    axes.scatter(section["actual"], section["predicted"], s=12, alpha=0.6)
    axes.axline((section["actual"][0], section["actual"][0]), slope=1, color="gray", ls="--")
    axes.set(xlabel=f"actual {label}", ylabel=f"predicted {label}", title="Test split")


def _importances(axes: "Axes", section: Section) -> None:
    rows = section["rows"][:LARGEST_CHART][::-1]
    names, rises, deviations = zip(*rows, strict=True)
    axes.barh(names, rises, xerr=deviations, alpha=0.8)
    axes.axvline(0, color="gray", lw=1)
    axes.set(xlabel="rise of the loss where permuted", title="Importance of columns, test split")


PLOTS: dict[str, Callable[["Axes", Section], None]] = {
    "confusion_matrix": _confusion_matrix,
    "residuals": _residuals,
    "importances": _importances,
}
