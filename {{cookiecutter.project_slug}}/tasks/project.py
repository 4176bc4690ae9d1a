"""The project itself: making it ready, and finding what is wrong with it."""

import os
import subprocess
import sys
import tomllib

from invoke import Context, task

from .shell import PACKAGE, ROOT, exit_code, run, run_module, uv


@task
def setup(context: Context) -> None:
    """Make the project ready: environment, Git, hooks, a commit."""
    if "UV_NO_SYNC" not in os.environ:  # which an image sets: its environment is complete
        extra = remote_extra()
        run(uv(), "sync", "--inexact", *(["--extra", extra] if extra else []))
    if not (ROOT / ".git").exists():
        run("git", "init", "--quiet", "--initial-branch=main")
    set_git_identity()
    # Hooks from outside of a container find its tools; those that it installs, none outside.
    if "UV_NO_SYNC" not in os.environ or not (ROOT / ".git/hooks/pre-commit").exists():
        run("pre-commit", "install")
    run("nbdime", "config-git", "--enable")
    if exit_code("git", "rev-parse", "--quiet", "--verify", "HEAD", quiet=True):
        run("git", "add", "--all")
        run("git", "commit", "--quiet", "--message", "Start from the template")
    print("ready: inv train")


@task
def doctor(context: Context) -> None:
    """Check tools, remote, account, GPU; say how to mend them."""
    run_module("doctor")


def remote_extra() -> str:
    """Return the extra of pyproject.toml that is the client of the DVC remote, or ""."""
    command = [sys.executable, "-m", f"{PACKAGE}.remotes"]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def set_git_identity() -> None:
    """Where Git knows no name, commit under that of the project's author, in this folder only."""
    author = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["authors"][0]
    for key, value in (("user.name", author["name"]), ("user.email", author["email"])):
        known = subprocess.run(["git", "config", key], cwd=ROOT, capture_output=True, check=False)
        if known.returncode:
            run("git", "config", key, value)
