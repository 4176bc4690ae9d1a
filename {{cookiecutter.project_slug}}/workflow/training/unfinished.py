"""Resuming a training that was interrupted, or from a checkpoint of a past run.

`unfinished/` exists until the result is safe: in the run's folder, or, for a stage of the
pipeline, in DVC's cache and dvc.lock.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import files, stage_code
from ..paths import CHECKPOINT, NEWEST_CHECKPOINT, UNFINISHED
from ..tracking import provenance

STATE = "state.json"


@dataclass(frozen=True)
class Training:
    """The folder where a training keeps its checkpoints, and its result until that is safe.

    Args:
        fingerprint: of its inputs.
        run_id: of the W&B run, where there is one to resume.
        complete: whether the result is there and the W&B run has ended.
        diverged: which loss was not a finite number, and when; None where none was.
    """

    folder: Path
    fingerprint: str
    run_id: str | None = None
    complete: bool = False
    diverged: str | None = None

    @property
    def checkpoint(self) -> str | None:
        """The newest checkpoint, or None before the first epoch has ended."""
        return str(self.newest) if self.newest.exists() else None

    @property
    def newest(self) -> Path:
        """Where the newest checkpoint is written."""
        return self.folder / NEWEST_CHECKPOINT.name

    @property
    def best(self) -> Path:
        """Where the checkpoint of the best epoch is written."""
        return self.folder / "best.ckpt"

    @property
    def result(self) -> Path:
        """The folder of the result."""
        return self.folder / "result"

    def start(self, run_id: str) -> "Training":
        """Note which run and which inputs the checkpoints to come belong to."""
        self.result.mkdir(parents=True, exist_ok=True)
        started = replace(self, run_id=run_id)
        started._note()
        return started

    def diverge(self, reason: str) -> None:
        """Note that a training with these inputs diverges."""
        self._note(diverged=reason)

    def end(self, run_dir: Path) -> None:
        """Put the result into `run_dir`; in a stage, keep it until DVC has recorded it.

        DVC removes the files of a stage before it runs it again.
        """
        self._note(complete=True)
        self.place(run_dir)
        if "DVC_STAGE" not in os.environ:
            shutil.rmtree(self.folder)

    def place(self, run_dir: Path) -> None:
        """Copy the result into `run_dir`."""
        for path in self.result.iterdir():
            shutil.copyfile(path, run_dir / path.name)

    def _note(self, **state: Any) -> None:
        identity = {"fingerprint": self.fingerprint, "run_id": self.run_id}
        files.replace(self.folder / STATE, json.dumps({**identity, **state}))


def find(
    run_dir: Path, config: dict[str, Any], start: str | None = None, from_scratch: bool = False
) -> Training:
    """Return the unfinished training of `run_dir`, or a new one.

    One of another config, code, data or start is removed: resuming would mix the two. So is one
    that DVC has recorded: whoever runs it again wants it trained again.

    Args:
        start: fingerprint of the checkpoint that the training starts from.
        from_scratch: remove an unfinished one in any case.
    """
    remove_recorded(run_dir)
    folder = _folder(run_dir)
    fingerprint = _fingerprint(config, start)
    state_file = folder / STATE
    if state_file.exists():
        state = json.loads(state_file.read_text(encoding="utf-8"))
        same = state["fingerprint"] == fingerprint
        if same and not from_scratch:
            return Training(folder, **state)
        why = "is discarded" if same else "had another config, code, data or start"
        print(f"the interrupted run {state['run_id']} {why}: starting from scratch")
        shutil.rmtree(folder)
    return Training(folder, fingerprint)


def remove_recorded(run_dir: Path) -> None:
    """Remove what a finished training has kept, if dvc.lock names its result: DVC has it."""
    checkpoint, lock = Training(_folder(run_dir), "").result / CHECKPOINT.name, Path("dvc.lock")
    if not checkpoint.exists() or not lock.exists():
        return
    recorded = provenance.outs_in({lock.name: lock.read_text(encoding="utf-8")})
    with checkpoint.open("rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if recorded.get(CHECKPOINT.as_posix()) == md5:
        shutil.rmtree(_folder(run_dir), ignore_errors=True)  # another process may remove it, too


def _folder(run_dir: Path) -> Path:
    return run_dir / UNFINISHED


def _fingerprint(config: dict[str, Any], start: str | None) -> str:
    """Return a hash of everything that decides how a training goes: config, code, data, start."""
    ignored = ("train", "tracking", "export")  # what `train` names is compared by its content
    parts = [json.dumps({key: config[key] for key in sorted(config) if key not in ignored})]
    parts += [path.read_text(encoding="utf-8") for path in stage_code.files("train")]
    parts += [f"{path} {md5}" for path, md5 in sorted(provenance.data_hashes().items())]
    parts += [start] if start else []
    return provenance.sha256("\n".join(parts).encode())
