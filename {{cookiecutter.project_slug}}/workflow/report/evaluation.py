"""The result of an evaluation of the exported model, and the files that it is written to."""

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import files
from ..paths import METRICS, PICTURES, PREDICTIONS, REPORTS, SECTIONS
from ..shards import Rows
from ..signature import Spec
from . import mistakes, pictures
from .sections import Section


@dataclass(frozen=True)
class Evaluation:
    """Metrics, predictions and sections of the test split.

    Args:
        metrics: numbers by name.
        sections: what the report shows, in order.
        predictions: columns of reports/predictions.csv, each with a value for each sample.
        worst: indices of the samples to show as mistakes, the worst first.
    """

    metrics: Mapping[str, float]
    sections: list[Section]
    predictions: Mapping[str, Sequence[Any]]
    worst: np.ndarray

    def write(self, inputs: Mapping[str, Rows], signature: Sequence[Spec]) -> None:
        """Write reports/: metrics.json, predictions.csv, sections.json, and pictures/.

        Args:
            inputs: arrays with a row for each sample, by name.
            signature: the `inputs` of the model's signature, which say how people read them.
        """
        REPORTS.mkdir(exist_ok=True)
        shutil.rmtree(PICTURES, ignore_errors=True)
        PICTURES.mkdir()
        sections = list(self.sections)
        for section in self.sections:
            if picture := pictures.draw(section):
                files.replace(PICTURES / f"{section['kind']}.png", picture)
        if picture := mistakes.picture(inputs, signature, self.predictions, self.worst):
            path = PICTURES / "worst_mistakes.png"
            files.replace(path, picture)
            sections.append({"kind": "mistakes_pictures", "file": path.as_posix()})
        if table := mistakes.rows(inputs, signature, self.predictions, self.worst):
            sections.append(table)
        files.replace(METRICS, _json(self.metrics))
        files.replace(SECTIONS, _json(sections))
        files.replace(PREDICTIONS, _csv(self.predictions))


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _csv(columns: Mapping[str, Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row])
    return text.getvalue()
