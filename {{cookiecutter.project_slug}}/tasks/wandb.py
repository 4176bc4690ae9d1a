"""Weights & Biases."""

from invoke import Context, task

from .shell import run_module


@task
def sync(context: Context) -> None:
    """Upload the runs that were made offline, artifacts included."""
    run_module("tracking.sync")
