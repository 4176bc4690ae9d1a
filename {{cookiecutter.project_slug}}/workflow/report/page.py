"""The result as one page that opens anywhere: reports/report.html.

The page loads nothing, from the network or beside it. The same inputs give the same page.
"""

import base64
import json
import re
import tomllib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .. import conflicts, files
from ..deciding_metric import DecidingMetric
from ..errors import CommandError
from ..onnx_file import read_provenance
from ..paths import HISTORY, METRICS, MODEL, PARAMS, REPORTS, SECTIONS
from ..results import KEEP_LAST, metric_text, read_history, read_metrics
from ..runs import experiments
from ..tracking.provenance import sha256
from . import charts
from .comparison import comparison
from .figures import figures
from .sections import Section

REPORT = REPORTS / "report.html"
TEMPLATES = Path(__file__).parent / "templates"
INPUTS = (METRICS, SECTIONS, HISTORY, MODEL, PARAMS)
LARGEST_MATRIX = 40  # classes; a larger one cannot be read, the frequent confusions still can
LARGEST_HALF = 12  # classes; a matrix of more needs the width of the page
FREQUENT = 8  # confusions
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


def write(root: Path = Path()) -> Path:
    """Write the report of what is in a project's folder.

    Raises:
        CommandError: a file that the report is about is missing, or one is in conflict after a
            merge; nothing is written.
    """
    conflicts.require_settled(root)
    for path in INPUTS:
        if not (root / path).exists():
            raise CommandError(f"{path.as_posix()} is missing: inv train first")
    try:
        rows = experiments.read(root)
    except CommandError:
        rows = []  # not in Git or DVC: there is still a result to show
    page = render(collect(root, rows))
    files.replace(root / REPORT, page)
    return root / REPORT


def render(context: dict[str, Any], template: Path = TEMPLATES / "page.html.jinja") -> str:
    """Return a page; every text in it is escaped.

    Args:
        template: it finds the others, and the style, beside itself and here.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # A long dotted name may break after its separators.
    environment.filters["breakable"] = lambda name: re.findall(r"[^./_]+[./_]?|[./_]", name)
    environment.filters |= {"cell": cell, "metric": metric_text, "json": json_text}
    return environment.get_template(template.name).render(context)


def cell(value: object) -> str:
    """Return a value of a table that may hold anything."""
    if isinstance(value, float):
        return f"{value:.5g}"
    return "" if value is None else str(value)


def json_text(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def collect(root: Path, rows: Sequence[experiments.Row]) -> dict[str, Any]:
    """Return what the template shows."""
    config_text = (root / PARAMS).read_text(encoding="utf-8")
    config = yaml.safe_load(config_text)
    metric = DecidingMetric.of(config)
    kept_by = metric if config.get("framework") not in KEEP_LAST else None
    sections = json.loads((root / SECTIONS).read_text(encoding="utf-8"))
    history = read_history(root / HISTORY)
    provenance = read_provenance(root / MODEL)
    config_hash = sha256(json.dumps(config, sort_keys=True).encode())
    here = experiments.current(rows)
    evaluated = datetime.fromtimestamp((root / METRICS).stat().st_mtime)
    metrics = read_metrics(root / METRICS)
    return {
        "project": project_name(root),
        # A clone has new file times; a commit knows when it was made.
        "when": here.when if here and here.when else evaluated,
        "here": here,
        "figures": figures(metrics, sections, history, metric, kept_by, root / MODEL),
        "curves": charts.learning_curves(history, kept_by),
        "sections": [(is_half(section, sections), drawn(section, root)) for section in sections],
        "experiments": comparison(rows),
        "provenance": provenance,
        "labels": PROVENANCE,
        "config": config_text,
        "config_changed": config_hash != provenance.get("config"),
    }


def drawn(section: Section, root: Path) -> dict[str, Any]:
    """Return a section with what the template draws: charts, or the content of a picture."""
    kind = section["kind"]
    if kind == "confusion_matrix":
        return section | {
            "is_readable": len(section["classes"]) <= LARGEST_MATRIX,
            "frequent": confusions(section["classes"], section["counts"]),
        }
    if kind == "calibration":
        chart = charts.reliability(section["bins"])
        bars = charts.histogram(section["edges"], section["counts"], "Answers", "confidence")
        return section | {"charts": [chart, bars]}
    if kind == "residuals":
        name = ", ".join(filter(None, [section["label"], section["unit"]]))
        chart = charts.predicted_by_actual(section["actual"], section["predicted"], name)
        bars = charts.histogram(
            section["edges"], section["counts"], "Residuals", f"predicted - actual {name}"
        )
        return section | {"charts": [chart, bars]}
    if kind == "mistakes_pictures":
        path = root / section["file"]
        if not path.exists():
            raise CommandError(f"{section['file']} is missing: inv train first")
        return section | {"content": base64.b64encode(path.read_bytes()).decode()}
    return section


def is_half(section: Section, sections: Sequence[Section]) -> bool:
    """Whether a section leaves room for another beside it: a small matrix, metrics of classes."""
    kinds = [one["kind"] for one in sections]
    sizes = [len(one["classes"]) for one in sections if one["kind"] == "confusion_matrix"]
    together = {"confusion_matrix", "class_metrics"}
    return section["kind"] in together <= set(kinds) and max(sizes) <= LARGEST_HALF


def confusions(
    classes: Sequence[str], counts: Sequence[Sequence[int]]
) -> list[tuple[str, str, int]]:
    """Return (actual, predicted, samples) of the most frequent wrong answers."""
    wrong = [
        (actual, predicted, count)
        for actual, row in zip(classes, counts, strict=True)
        for predicted, count in zip(classes, row, strict=True)
        if count and actual != predicted
    ]
    return sorted(wrong, key=lambda confusion: -confusion[2])[:FREQUENT]


def project_name(root: Path) -> str:
    """Return the name as people read it, the heading of the README; else the distribution's."""
    readme = root / "README.md"
    if readme.exists():
        heading = readme.read_text(encoding="utf-8").partition("\n")[0]
        if heading.startswith("# "):
            return heading.removeprefix("# ").strip()
    pyproject = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return pyproject["project"]["name"]
