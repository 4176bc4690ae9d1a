"""Weights & Biases."""

from invoke import Context, task

from .shell import follows, run_module


@task
def login(context: Context) -> None:
    """Store an API key; from then on runs are uploaded live."""
    run_module("tracking.login")


@task
def sync(context: Context) -> None:
    """Upload the runs that were made offline, artifacts included."""
    run_module("tracking.sync")
    follows("inv compare")
