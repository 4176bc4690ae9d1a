"""Data and models: what DVC keeps, here and in the remote."""

from pathlib import Path

from invoke import Context, Exit, task

from ..paths import ROOT
from .shell import follows, require_git, run, run_module


@task(help={"path": "a file or folder; one from elsewhere is copied into data/"})
def add(context: Context, path: str) -> None:
    """Track a file or folder with DVC."""
    source = Path(path).resolve()
    if source.is_relative_to(ROOT / "data"):
        run("dvc", "add", str(source.relative_to(ROOT)))
    elif source.is_relative_to(ROOT):
        raise Exit(f"{path}: runs record what is in data/; move it there")
    else:
        run("dvc", "add", str(source), "--out", f"data/{source.name}")
        source = ROOT / "data" / source.name
    name = source.relative_to(ROOT).as_posix()
    print(f"{name} is tracked by DVC; Git keeps {name}.dvc", flush=True)
    follows("git commit", "inv data.push")


@task(help={"needed": "enough is what the pipeline does not make itself"})
def pull(context: Context, needed: bool = False) -> None:
    """Fetch data and models of this revision from the remote."""
    require_git()
    run_module("storage", "pull", *(["--needed"] if needed else []))


@task(help={"everything": "also what other commits and experiments made: all that is in the cache"})
def push(context: Context, everything: bool = False) -> None:
    """Send data and models to the remote, with every version."""
    require_git()
    run_module("storage", "push", *(["--everything"] if everything else []))


@task(help={"address": "of a folder in an object store: s3://BUCKET/PATH, gs://…, az://…"})
def publish(context: Context, address: str) -> None:
    """Copy the shards of loader=stream into an object store."""
    run_module("published", "send", address)


@task(help={"address": "of published shards"})
def stream(context: Context, address: str) -> None:
    """Read data/prepared from published shards while it trains."""
    run_module("published", "stream", address)


@task
def status(context: Context) -> None:
    """Say what changed here, and what the remote lacks."""
    require_git()
    run_module("storage", "status")
