"""The project itself: making it ready, and finding what is wrong with it."""

import os
import subprocess
import sys

from invoke import Context, task

from ..paths import ROOT
from .shell import PACKAGE, run, run_module, uv


@task(help={"nested": "a repository of its own, though inside of another one"})
def setup(context: Context, nested: bool = False) -> None:
    """Make the project ready: environment, Git, hooks, a commit."""
    run_module("repository", "make", *(["--nested"] if nested else []))
    if "UV_NO_SYNC" not in os.environ:  # which an image sets: its environment is complete
        extra = remote_extra()
        # Here once, not at each `uv run`: the first import of torch takes 4 s then, not 10.
        options = ["--extra", extra] if extra else []
        run(uv(), "sync", "--inexact", "--compile-bytecode", *options)
    run_module("repository", "initialize")
    print("ready: inv train")


@task
def doctor(context: Context) -> None:
    """Check tools, remote, account, GPU; say how to fix them."""
    run_module("doctor")


def remote_extra() -> str:
    """Return the extra of pyproject.toml that is the client of the DVC remote, or ""."""
    command = [sys.executable, "-m", f"{PACKAGE}.dvc_store.remote"]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
