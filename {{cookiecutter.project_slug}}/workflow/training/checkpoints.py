"""The checkpoint of a past run's best epoch; a run is anything that `inv restore` takes."""

import contextlib
import json
import pickle
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import checkpoint_file, formats
from ..errors import CommandError, one_line
from ..paths import CHECKPOINT, home
from ..runs import finding
from ..tracking import log_reader, provenance
from ..tracking.server import log_in
from ..tracking.transaction_log import run_folders, run_id

SUFFIX = ".ckpt"  # ends the path of a checkpoint, and the name of no run

# What a framework's `read` says of a file.
UNREADABLE = "it is not a checkpoint that can be read"
NOT_OF_TRAINING = "it is not a checkpoint of this project's training"


@dataclass(frozen=True)
class Content:
    """What a framework reads in a checkpoint.

    Args:
        config: the composed config that it was trained with.
        epochs: how many were trained.
        provenance: of the run that wrote it; empty in a checkpoint of an unfinished training.
        shapes: of each weight of the network, by its name.
        loaded: what the framework needs to resume from it, or to take its weights.
    """

    config: dict[str, Any]
    epochs: int
    provenance: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    loaded: Any


Read = Callable[[Path], Content]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a past training.

    Args:
        name: of the run or the file, as it was asked for.
        content: what is in it.
        sha256: of the file.
        run: id of the W&B run that wrote it; None where nothing says so.
        data: path to DVC hash of what it was trained on; empty where nothing says so.
    """

    name: str
    content: Content
    sha256: str
    run: str | None
    data: dict[str, str]


def pin(name: str) -> str:
    """Return a name that will always mean the same run.

    `main` becomes `main@COMMIT`, the folder of a W&B run its id; other names stay.

    Raises:
        CommandError: it is the file that the pipeline writes, or there is no such version.
    """
    if name.endswith(SUFFIX):
        if (home() / name).resolve() == (home() / CHECKPOINT).resolve():
            raise CommandError(f"{name} is removed before it is written again: name its run")
        return name
    if folders := _folders(name):
        return run_id(folders)
    commit = finding.commit_of(name)
    if commit is None or name.endswith(f"@{commit}"):
        return name
    return f"{commit[:7] if finding.COMMIT.fullmatch(name) else name}@{commit}"


def load(name: str, framework: str, read: Read) -> Checkpoint:
    """Read the checkpoint of a run, or a file.

    Args:
        name: a run; or a path that ends in `.ckpt`, from the project's folder.
        framework: that has to have written it.
        read: reads a file as that framework does; raises ValueError where it is of something else.

    Raises:
        CommandError: there is none, or this project's `train` did not write it.
    """
    try:
        with _located(name) as (path, recorded):
            sha256 = _sha256(path)
            _require_readable(path, framework, name)
            content = read(path)
    except ValueError as error:
        raise CommandError(f"{name}: {error}") from None
    origin = {"data": {}, "run": {"id": None}, **content.provenance, **recorded}
    return Checkpoint(name, content, sha256, origin["run"]["id"], origin["data"])


@contextmanager
def _located(name: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the file, and what is known of its run beyond what the file says."""
    if name.endswith(SUFFIX):
        yield home() / name, {}
    elif folders := _folders(name):
        yield _staged(folders)
    else:
        with tempfile.TemporaryDirectory() as folder:
            if commit := finding.commit_of(name):
                yield _committed(commit, Path(folder)), {}
            elif name.count("/") == 2:
                yield _downloaded(name, Path(folder))
            else:
                raise finding.unknown(name)


def _sha256(path: Path) -> str:
    try:
        return provenance.sha256(path.read_bytes())
    except FileNotFoundError:
        raise ValueError("there is no such file") from None
    except OSError:
        raise ValueError(UNREADABLE) from None


def _require_readable(path: Path, framework: str, name: str) -> None:
    """Refuse what another framework wrote, or a later version of the workflow.

    What cannot be read at all is for the framework to refuse.
    """
    written_by = checkpoint_file.read_framework(path)
    if written_by not in (None, framework):
        raise ValueError(
            f"it is a checkpoint of {written_by}, this project needs one of {framework}"
        )
    with contextlib.suppress(OSError, zipfile.BadZipFile, pickle.UnpicklingError):
        formats.require(checkpoint_file.read_provenance(path, name), provenance.FORMAT, name)


def _committed(commit: str, folder: Path) -> Path:
    from ..dvc_store.objects import Store

    path = CHECKPOINT.as_posix()
    md5 = provenance.outs_at(commit).get(path)
    if not md5:
        raise ValueError(f"commit {commit[:12]} has no {path}: nothing was trained in it")
    store = Store()
    store.locate(path, md5)
    store.fetch(path, md5, folder)
    return folder / path


def _folders(name: str) -> list[Path]:
    """Return the folders of a W&B run: here, or in the main worktree."""
    main = finding.main_worktree()
    return run_folders(name) or (run_folders(name, main / "wandb") if main else [])


def _staged(folders: list[Path]) -> tuple[Path, dict[str, Any]]:
    mine = [one for folder in folders for one in log_reader.read(folder).named("checkpoint")]
    if not mine:
        raise ValueError("it kept no checkpoint")
    run = run_id(folders)
    (path,) = log_reader.staged(mine[-1:])
    if not path.exists():
        raise ValueError(f"{path} is gone; if it was uploaded: entity/project/{run}")
    return path, {"run": {"id": run}, "data": json.loads(mine[-1].metadata)["data"]}


def _downloaded(path: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    import wandb

    if problem := log_in():
        raise ValueError(problem)
    try:
        run = wandb.Api().run(path)
        mine = [artifact for artifact in run.logged_artifacts() if artifact.type == "checkpoint"]
        if not mine:
            raise ValueError("it kept no checkpoint")
        mine[-1].download(root=str(folder))
    except (wandb.Error, ValueError) as error:
        raise ValueError(one_line(error)) from None
    return folder / CHECKPOINT.name, {"run": {"id": run.id}, "data": mine[-1].metadata["data"]}
