"""The result of the pipeline, as the last lines of a task: read from the files that it wrote."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from .. import conflicts
from ..checkpoint_file import read_provenance
from ..config.values import makes
from ..deciding_metric import DecidingMetric
from ..paths import CHECKPOINT, HISTORY, METRICS, MODEL, PARAMS, ROOT, TRAIN_METRICS
from ..results import KEEP_LAST, best_epoch, metric_text, read_history, read_metrics
from ..tracking.transaction_log import marker, run_folders

WRITTEN = (TRAIN_METRICS, METRICS, MODEL)  # by each stage that ran
NEXT = "next: inv report, inv compare"


def show(since: float) -> None:
    """Print the result, and the next command.

    Args:
        since: when the pipeline was started; the first line says whether anything changed since.
    """
    print()
    for line in lines(ROOT, since):
        print(line)


def lines(root: Path, since: float) -> Iterator[str]:
    """Yield what `show` prints, of the project in `root`."""
    missing = [path.as_posix() for path in WRITTEN if not (root / path).exists()]
    if missing:
        yield f"{missing[0]} is missing: inv train"
        return
    newest = max((root / path).stat().st_mtime for path in WRITTEN)
    if newest < since:
        yield f"up to date: nothing changed since {datetime.fromtimestamp(newest):%Y-%m-%d %H:%M}"
    metrics = read_metrics(root / METRICS)
    texts = [f"{name} {metric_text(value)}" for name, value in metrics.items()]
    yield f"test: {', '.join(texts)} ({METRICS.as_posix()})"
    yield f"training: {training(root)}"
    if run := read_provenance(root / CHECKPOINT).get("run"):
        yield f"run: {tracked(run['id'], root / 'wandb')}"
    yield following(root)


def following(root: Path) -> str:
    """Say what to type next: an unfinished merge comes first."""
    command = conflicts.finish(root)
    return f"next: {command}, which ends the merge" if command else NEXT


def training(root: Path) -> str:
    """Say which epoch was the best, and whether and why the training stopped early."""
    params = yaml.safe_load((root / PARAMS).read_text(encoding="utf-8"))
    epochs = json.loads((root / TRAIN_METRICS).read_text(encoding="utf-8"))["epochs"]
    best = best_epoch(read_history(root / HISTORY), DecidingMetric.of(params))
    best_text = f"epoch {best} of {epochs} was the best" if best else f"{epochs} epochs"
    if params.get("framework") in KEEP_LAST:
        name = _estimator(params["model"])
        return name if epochs == 1 else f"{name}, {epochs} iterations"
    key = "max_epochs" if "max_epochs" in params["trainer"] else "epochs"  # of Keras
    planned = params["trainer"].get(key)
    if planned is None or not 0 <= epochs < planned:
        return f"{best_text}, all were trained"
    return f"{best_text}, {stopped(params)} (trainer.{key}={planned})"


def _estimator(node: dict[str, Any]) -> str:
    """Return the class that is fitted: of a pipeline, its last step."""
    while steps := [child for child in node.values() if makes(child)]:
        node = steps[-1]
    return str(node["_target_"]).rpartition(".")[2]


def stopped(params: dict[str, Any]) -> str:
    """Say why a training ended before its last epoch."""
    for node in params["callbacks"].values():
        if node and node["_target_"].endswith(".EarlyStopping"):
            patience = node.get("patience", 3)
            return f"stopped early: no better {node['monitor']} in {patience} epochs"
    return "stopped early"


def tracked(run: str, folder: Path) -> str:
    """Say where a W&B run is."""
    folders = run_folders(run, folder)
    if not folders:
        return f"{run}, not tracked here"
    if all(marker(path).exists() for path in folders):
        return f"{run}, uploaded"
    return f"{run}, kept in wandb/ (inv wandb.sync uploads it)"
