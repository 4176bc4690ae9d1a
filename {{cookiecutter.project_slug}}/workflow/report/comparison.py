"""The report's table of experiments."""

from collections.abc import Sequence
from typing import Any

from ..results import metric_text
from ..runs import experiments


def comparison(rows: Sequence[experiments.Row]) -> dict[str, Any] | None:
    """Return the table of experiments as texts, or None where there is nothing to compare."""
    compared = experiments.comparable(rows)
    if len(compared) < 2:
        return None
    here, metric = experiments.current(rows), experiments.deciding_metric(rows)
    best = experiments.best(compared, metric)
    params, metrics = experiments.differing(compared), experiments.metric_names(compared)
    return {
        "params": [experiments.param_label(name) for name in params],
        "metrics": metrics,
        "has_failed": any(row.state == "failed" for row in compared),
        "rows": [
            {
                "row": row,
                "is_here": row is here,
                "params": [experiments.param_text(row.params, name) for name in params],
                "metrics": [
                    (
                        metric_text(row.metrics.get(name)),
                        experiments.is_best(row, name, metric, best),
                    )
                    for name in metrics
                ],
            }
            for row in compared
        ],
    }
