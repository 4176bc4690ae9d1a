"""Starting, and coming back to, the W&B run of a training."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import wandb

from ..paths import ROOT
from . import patch

WEIGHTS = "model/weights"  # in a run's summary: the hash of what was trained


def start_run(
    config: dict[str, Any],
    made_from: dict[str, Any],
    changes: patch.Changes,
    run_id: str | None = None,
) -> wandb.Run:
    """Start a W&B run, or go on with the interrupted one called `run_id`.

    Args:
        config: the composed config as plain types.
        made_from: its provenance; recorded beside the config.
        changes: of the code, kept among the files of the run.
    """
    if run_id:
        _drop_interrupted_log(run_id)
    run = _init(
        config["tracking"],
        run_id,
        wandb.Settings(save_code=True, console="off"),
        config={**config, "provenance": made_from},
        tags=config["tracking"]["tags"],
        name=os.environ.get("DVC_EXP_NAME"),
    )
    if changes.patch and not run.disabled:
        file = Path(run.dir) / patch.FILE
        file.write_bytes(changes.patch)
        run.save(file, base_path=run.dir, policy="now")
    if changes.left_out:
        print(f"too large to be kept with the run: {', '.join(changes.left_out)}")
    return run


def return_to_run(config: dict[str, Any], run_id: str) -> wandb.Run:
    """Open the finished run `run_id` again, to add measures to it.

    What `train` recorded of its command, code and machine stays as it is.
    """
    settings = wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        save_code=False,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    return _init(config["tracking"], run_id, settings)


def next_step(run_id: str | None) -> int:
    """Return the step after the last one of an interrupted run that was uploaded already."""
    last = -1
    for marker in wandb_folder().glob(f"offline-run-*-{run_id}/*.synced"):
        inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json"]
        done = subprocess.run([*inspect, str(marker.parent)], capture_output=True, check=True)
        last = max(last, json.loads(done.stdout)["step"])
    return last + 1


def wandb_folder() -> Path:
    """Return where runs are kept until they are uploaded: the project's folder `wandb`.

    A queued experiment runs in a temporary folder; its run outlives it here.
    """
    return Path(os.environ.get("DVC_ROOT", ROOT)) / "wandb"


def set_data_folder() -> None:
    """Say where offline artifacts wait for their upload.

    W&B's default is a folder in the home of the user, which is lost with a container.
    """
    os.environ.setdefault("WANDB_DATA_DIR", str(wandb_folder() / ".data"))


def _init(
    tracking: dict[str, Any], run_id: str | None, settings: wandb.Settings, **more: Any
) -> wandb.Run:
    set_data_folder()
    settings.silent = True
    settings.git_root = str(Path.cwd())
    settings.x_transaction_log_flush_interval = 1  # seconds of history that a kill can cost
    return wandb.init(
        id=run_id,
        resume="allow",
        project=tracking["project"],
        entity=tracking["entity"],
        mode=_mode(tracking["mode"]),
        dir=wandb_folder().parent,
        settings=settings,
        **more,
    )


def _mode(mode: str) -> Any:
    """Return what `wandb.init` takes: None leaves it to WANDB_MODE or `wandb offline`."""
    if mode != "auto":
        return mode
    chosen = "WANDB_MODE" in os.environ or wandb.setup().settings.mode != "online"
    if chosen or wandb.login(prompt=False, verify=False):
        return None
    return "offline"


def _drop_interrupted_log(run_id: str) -> None:
    """Remove the offline log of a killed process, whose last record may be cut in the middle.

    Nothing is lost: RunLog writes the same rows again, from the checkpoint. A log that was
    uploaded meanwhile stays.
    """
    for folder in wandb_folder().glob(f"offline-run-*-{run_id}"):
        if not any(folder.glob("*.synced")):
            shutil.rmtree(folder)
