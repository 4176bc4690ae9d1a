# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = [
#     "evidently>=0.7.23",
#     "pandas>=2.3,<3", # Evidently does not run on 3
# ]
# ///
"""Compare what a model is asked with the data that it was trained on, by Evidently.

    uv run --script --locked drift.py runs/drift/features.json reports

It has an environment of its own, which drift.py.lock fixes: Evidently needs much that the project
does not. A table of the columns is printed and written as drift.json; drift.html shows them.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ["DO_NOT_TRACK"] = "1"  # no usage statistics

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

METHODS = {
    # Numbers: how probable such a difference is by chance, by Kolmogorov and Smirnov.
    "num_method": "ks",
    "num_threshold": 0.001,
    # Classes: the population stability index, of which 0.2 is usually called a change.
    "cat_method": "psi",
    "cat_threshold": 0.2,
}
DRIFTED = {"ks": "p < {}", "psi": "psi >= {}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("features", type=Path)
    parser.add_argument("folder", type=Path, help="where drift.html and drift.json are written")
    parser.add_argument("--fail", action="store_true", help="exit with 1 if a column drifted")
    arguments = parser.parse_args()
    features = json.loads(arguments.features.read_text(encoding="utf-8"))
    current, reference = (dataset(features.pop(name)) for name in ("current", "reference"))
    report = Report([DataDriftPreset(**METHODS)], include_tests=True)
    snapshot = report.run(current, reference)
    columns = verdicts(snapshot.dict())
    drifted = [column["column"] for column in columns if column["drifted"]]
    size = len(current.as_dataframe())

    page = arguments.folder / "drift.html"
    summary = {**features, "samples": size, "drifted": drifted, "columns": columns}
    arguments.folder.mkdir(parents=True, exist_ok=True)
    # Whole or not at all; this has an environment of its own, without the project.
    unfinished = arguments.folder / "drift.unfinished"
    snapshot.save_html(str(unfinished))
    unfinished.replace(page)
    unfinished.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(page.with_suffix(".json"))

    print(f"{'column':<16} {'method':<6} {'score':>10}  {'drifted if':<10}  drifted")
    for column in columns:
        limit = DRIFTED[column["method"]].format(column["limit"])
        row = "{column:<16} {method:<6} {score:>10.3g}".format(**column)
        print(f"{row}  {limit:<10}  {'yes' if column['drifted'] else 'no'}")
    period = f"{size} samples, {features['from']} to {features['to']}"
    print(f"drift: {len(drifted)} of {len(columns)} columns drifted; {period}: {page.as_posix()}")
    if drifted and arguments.fail:
        raise SystemExit(1)


def dataset(columns: dict[str, list[Any]]) -> Dataset:
    """Return columns, of which some may be longer than others, as Evidently takes them."""
    frame = pd.DataFrame({name: pd.Series(values) for name, values in columns.items()})
    numbers = list(frame.select_dtypes("number"))
    classes = [name for name in frame if name not in numbers]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=classes)
    return Dataset.from_pandas(frame, definition)


def verdicts(snapshot: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what Evidently found of each column."""
    statuses = {
        test["metric_config"]["metric_id"]: test["status"].value for test in snapshot["tests"]
    }
    return [
        {
            "column": metric["config"]["column"],
            "method": metric["config"]["method"],
            "score": float(metric["value"]),
            "limit": metric["config"]["threshold"],
            "drifted": statuses[metric["id"]] == "FAIL",
        }
        for metric in snapshot["metrics"]
        if "column" in metric["config"]
    ]


if __name__ == "__main__":
    main()
