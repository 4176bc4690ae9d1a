"""runs/train/history.csv: the metrics of each epoch, which DVC plots."""

import csv
from collections.abc import Sequence
from pathlib import Path

Rows = Sequence[dict[str, float]]


def write(path: Path, rows: Rows) -> None:
    """Write a row for each epoch; the columns are the names that any row has."""
    with path.open("w", newline="", encoding="utf-8") as file:
        names = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(file, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def row(epoch: int, metrics: dict[str, float]) -> dict[str, float]:
    """Return the row of an epoch, counted from 0."""
    return {"epoch": epoch} | {name: round(value, 6) for name, value in metrics.items()}
