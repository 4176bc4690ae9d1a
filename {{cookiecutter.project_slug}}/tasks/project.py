"""The project itself: making it ready, and finding what is wrong with it."""

import configparser
import subprocess
import tomllib

from invoke import Context, task

from .shell import ROOT, exit_code, run, run_module, uv

# The client that each kind of DVC remote needs: an extra of pyproject.toml.
EXTRAS = {
    "s3": "s3",
    "gs": "gs",
    "azure": "azure",
    "ssh": "ssh",
    "webdav": "webdav",
    "webdavs": "webdav",
}


@task
def setup(context: Context) -> None:
    """Make the project ready: environment, Git, hooks, a commit."""
    scheme = remote_url().partition("://")[0]
    extra = ["--extra", EXTRAS[scheme]] if scheme in EXTRAS else []
    run(uv(), "sync", "--inexact", *extra)
    if not (ROOT / ".git").exists():
        run("git", "init", "--quiet", "--initial-branch=main")
    set_git_identity()
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


def remote_url() -> str:
    """Return the address of the default DVC remote."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / ".dvc" / "config", encoding="utf-8")
    remote = config["core"]["remote"]
    return config[f"'remote \"{remote}\"'"]["url"].strip('"')


def set_git_identity() -> None:
    """Where Git knows no name, commit under that of the project's author, in this folder only."""
    author = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["authors"][0]
    for key, value in (("user.name", author["name"]), ("user.email", author["email"])):
        known = subprocess.run(["git", "config", key], cwd=ROOT, capture_output=True, check=False)
        if known.returncode:
            run("git", "config", key, value)
