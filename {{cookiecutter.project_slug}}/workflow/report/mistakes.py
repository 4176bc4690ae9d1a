"""The worst mistakes of an evaluation: as pictures where inputs are images, else as rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..shards import Rows
from ..signature import Spec, decode, decode_columns, distinct
from .pictures import png
from .sections import Section

TEXT_LENGTH = 200  # characters of a text that a row shows
TITLE_LENGTH = 14  # characters of a name in the title of a picture
PER_ROW = 8  # pictures
CELL, MARGIN = 1.5, 0.08  # inches, of a picture without its title


def rows(
    inputs: Mapping[str, Rows],
    signature: Sequence[Spec],
    predictions: Mapping[str, Sequence[Any]],
    worst: np.ndarray,
    limit: int = 20,
) -> Section | None:
    """Return a table of samples as people read them; None where no input can be read so.

    Args:
        inputs: arrays with a row for each sample, by name.
        signature: the `inputs` of the model's signature.
        predictions: columns with a value for each sample.
        worst: indices of the samples, the worst first.
    """
    readable = [spec for spec in signature if spec.get("kind") in ("features", "text")]
    if not readable:
        return None
    indices = worst[:limit]
    columns = {name: [values[index] for index in indices] for name, values in predictions.items()}
    columns_of_inputs: dict[str, list[Any]] = {}
    for spec in readable:
        columns_of_inputs |= _columns(spec, inputs[spec["name"]][indices])
    columns |= distinct(columns_of_inputs, columns)
    table = [list(row) for row in zip(*columns.values(), strict=True)]
    return {"kind": "mistakes_rows", "columns": list(columns), "rows": table}


def picture(
    inputs: Mapping[str, Rows],
    signature: Sequence[Spec],
    predictions: Mapping[str, Sequence[Any]],
    worst: np.ndarray,
    limit: int = 24,
) -> bytes | None:
    """Draw the samples as a grid, and return the PNG; None where no input is an image.

    Args: see `rows`.
    """
    image = next((spec for spec in signature if spec.get("kind") == "image"), None)
    if image is None:
        return None
    from matplotlib.figure import Figure

    samples = worst[:limit].tolist()
    lines = max(1, -(-len(samples) // PER_ROW))
    title = 0.2 * len(predictions)  # inches, as the rest
    width, height = PER_ROW * CELL, lines * (CELL + title)
    figure = Figure(figsize=(width, height))
    # One for all pictures, in inches: Matplotlib takes half a second for as many axes.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for place, index in enumerate(samples):
        line, column = divmod(place, PER_ROW)
        middle = (column + 0.5) * CELL
        bottom = height - (line + 1) * (CELL + title) + MARGIN
        pixels = (inputs[image["name"]][index] / image["max_value"]).squeeze()
        scale = (CELL - 2 * MARGIN) / max(pixels.shape[:2])
        rows, columns = pixels.shape[0] * scale, pixels.shape[1] * scale
        extent = (middle - columns / 2, middle + columns / 2, bottom, bottom + rows)
        axes.imshow(pixels, extent=extent, aspect="auto", cmap="gray_r", vmin=0, vmax=1)
        texts = [
            f"{name} {_short(values[index], TITLE_LENGTH)}" for name, values in predictions.items()
        ]
        axes.text(middle, bottom + rows + MARGIN, "\n".join(texts), fontsize=8, ha="center")
    axes.set(xlim=(0, width), ylim=(0, height))
    if not samples:
        figure.text(0.5, 0.5, "No mistake on the test split", ha="center", va="center")
    return png(figure)


def _columns(spec: Spec, samples: np.ndarray) -> dict[str, list[Any]]:
    """Return what samples have in the columns of an input: numbers, choices, or texts."""
    if spec["kind"] == "text":
        texts = decode(spec, samples)
        return {spec["name"]: [_short(text, TEXT_LENGTH) for text in texts]}
    return decode_columns(spec, samples)


def _short(value: Any, length: int) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= length else f"{text[: length - 1]}…"
