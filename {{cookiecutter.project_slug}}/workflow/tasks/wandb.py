"""Weights & Biases."""

from invoke import Context, task

from .shell import follows, run_module


@task
def login(context: Context) -> None:
    """Keep an API key; runs are uploaded as they go from then on."""
    run_module("tracking.login")


@task
def sync(context: Context) -> None:
    """Upload the runs that were made offline, artifacts included."""
    run_module("tracking.sync")
    follows("inv compare")
