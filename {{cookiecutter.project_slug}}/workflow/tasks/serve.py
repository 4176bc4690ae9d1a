"""Serving the exported model."""

from invoke import Context, task

from .shell import run_module

MODELS = "NAME=FILE of each, or NAME=model#production, with commas between; two can be compared"


@task(help={"models": MODELS, "port": "of this machine, where the browser finds the page"})
def serve(context: Context, models: str = "model=models/model.onnx", port: int = 8000) -> None:
    """Serve the exported model, with a page to try it, here."""
    options = (f"--models={models}", f"--port={port}")
    run_module("serving.local", *options, ends_with_this=True)
