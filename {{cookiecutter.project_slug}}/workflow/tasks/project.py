"""The project itself: making it ready, and finding what is wrong with it."""

import os
import subprocess
import sys

from invoke import Context, task
from invoke.exceptions import Exit

from ..paths import ROOT
from .shell import PACKAGE, run_module, run_uv


@task(
    help={
        "nested": "a repository of its own, though inside of another one",
        "subfolder": "belong to the repository around it, as one of its folders",
    }
)
def setup(context: Context, nested: bool = False, subfolder: bool = False) -> None:
    """Make the project ready: environment, Git, hooks, a commit."""
    where = ["--nested"] if nested else ["--subfolder"] if subfolder else []
    run_module("repository", "make", *where)
    if "UV_NO_SYNC" not in os.environ:  # which an image sets: its environment is complete
        # Here once, not at each `uv run`: the first import of torch takes 4 s then, not 10.
        run_uv("sync", "--inexact", "--compile-bytecode", *extras())
    run_module("repository", "initialize")
    print("ready: inv train")


@task
def doctor(context: Context) -> None:
    """Check tools, remote, account, GPU; say how to fix them."""
    run_module("doctor")


@task(help={"apply": "remove what can go; without it, nothing is removed"})
def clean(context: Context, apply: bool = False) -> None:
    """Show what takes room, and what can go without a loss."""
    run_module("cleaning", *(["--apply"] if apply else []))


def extras() -> list[str]:
    """Return the options of uv for the extras that the project needs."""
    command = [sys.executable, "-m", f"{PACKAGE}.extras"]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise Exit(code=result.returncode)
    return result.stdout.split()
