"""Monitoring a served model."""

from invoke import Context, task

from .shell import PACKAGE, run_module, run_uv

FEATURES = "runs/drift/features.json"


@task(help={"model": "NAME=FILE, as it was served", "fail": "end with 1 if a column drifted"})
def drift(context: Context, model: str = "model=models/model.onnx", fail: bool = False) -> None:
    """Write reports/drift.html: what is served, against the data."""
    run_module("monitoring.features", f"--model={model}", FEATURES)
    script = f"{PACKAGE}/monitoring/drift.py"
    options = ["--fail"] if fail else []
    run_uv("run", "--script", "--locked", script, FEATURES, "reports", *options)
