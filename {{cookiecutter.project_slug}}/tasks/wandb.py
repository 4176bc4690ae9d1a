"""Weights & Biases."""

from invoke import Context, task

from .shell import run_module


@task
def sync(context: Context) -> None:
    """Upload the runs that were made offline, with their files and artifacts."""
    run_module("tracking.sync")
