"""Starting, resuming and finishing the W&B run of a training.

A run is always written to disk, and nothing in it waits for the server: in W&B's own online mode a
server that goes away stops a run for minutes, and then `log_artifact` raises. A process beside it
uploads what is written (upload.py).
"""

import os
import shutil
from pathlib import Path
from typing import Any

import wandb

from .. import credentials
from ..variables import VariableError
from . import log_reader, patch, provenance, sync, upload
from .server import log_in, settings
from .transaction_log import HEADER, marker, repair, set_data_folder, wandb_folder

SHOWN = 5  # files that were left out, by name
WEIGHTS = "model/weights_sha256"  # in a run's summary: the hash of what was trained


def start_run(
    config: dict[str, Any],
    origin: dict[str, Any],
    changes: patch.Changes,
    run_id: str | None = None,
) -> wandb.Run:
    """Start a W&B run, or resume the interrupted one called `run_id`.

    Args:
        config: the composed config as plain types.
        origin: its provenance; recorded beside the config.
        changes: of the code, kept among the files of the run.

    Raises:
        VariableError: a setting of W&B is wrong.
    """
    tags = [*config["tracking"]["tags"], *(settings().run_tags or ())]
    own_settings = wandb.Settings(
        console="off",
        save_code=False,  # W&B's own copies of the code would have what `changes` leaves out,
        git_remote_url=provenance.origin(),  # and its address of the remote a token in it
        git_commit=origin["git"]["commit"],
    )
    run = _init(
        config["tracking"],
        run_id,
        own_settings,
        config={**config, "provenance": origin},
        tags=list(dict.fromkeys(tags)),
    )
    if changes.patch and not run.disabled:
        file = Path(run.dir) / patch.FILE
        file.write_bytes(changes.patch)
        run.save(file, base_path=run.dir, policy="now")
    for left_out in provenance.some(changes.left_out, SHOWN):
        print(f"not kept with the run: {left_out}")
    if any(" in line " in why for why in changes.left_out.values()):
        print(f"a secret: {credentials.ADVICE}")
    return run


def keeps_code() -> bool:
    """Whether uncommitted changes are kept with a run: not where W&B's settings say otherwise.

    Raises:
        VariableError: a setting of W&B is wrong.
    """
    values = settings()
    return not values.disable_code and not values.disable_git and values.save_code is not False


def return_to_run(config: dict[str, Any], run_id: str) -> wandb.Run:
    """Open the finished run `run_id` again, to add metrics to it.

    What `train` recorded of its command, code and machine stays as it is.
    """
    quiet = wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        save_code=False,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
    return _init(config["tracking"], run_id, quiet)


def finish_run(run: wandb.Run) -> None:
    """End a run, and wait until it is uploaded, if it is."""
    run.finish()
    upload.finish()


def upload_rest(tracking: dict[str, Any], run_id: str) -> None:
    """Upload what the server lacks of a run that has ended, if runs are online."""
    folders = sorted(log.parent for log in wandb_folder().glob(f"offline-run-*-{run_id}/*.wandb"))
    uploaded = all(marker(folder).exists() for folder in folders)
    if uploaded or resolve_mode(tracking["mode"]) != "online":
        return
    problem = log_in()
    if not problem:
        sync.set_variables()
        outcome, problem = sync.upload(folders)
        if outcome == "uploaded":
            print(f"W&B: {problem}")
            return
    print(f"W&B: {problem}\nW&B: {upload.KEPT}")


def identity(run: wandb.Run) -> dict[str, str | None]:
    """Return what a model's provenance names its run by.

    `url` is its page in W&B, which is known where the config or W&B's variables name an entity.
    """
    return {"id": run.id, "path": run.path, "url": run.settings.run_url or None}


def next_step(run_id: str | None) -> int:
    """Return the step after the last one that an interrupted run has logged.

    To be called before the run is resumed: the logs that are there get a proper end.
    """
    last = -1
    for log in wandb_folder().glob(f"offline-run-*-{run_id}/run-*.wandb"):
        repair(log)
        if log.stat().st_size <= HEADER:  # nothing was written
            shutil.rmtree(log.parent)
            continue
        step = log_reader.read(log.parent).step
        if step is not None:  # not killed before its first row
            last = max(last, step)
    return last + 1


def _init(
    tracking: dict[str, Any], run_id: str | None, own: wandb.Settings, **more: Any
) -> wandb.Run:
    set_data_folder()
    own.silent = True
    own.git_root = str(Path.cwd())
    own.x_transaction_log_flush_interval = 1  # seconds of history that a kill can cost
    mode = resolve_mode(tracking["mode"])
    problem = log_in() if mode == "online" else None
    if problem:
        print(f"W&B: {problem}\nW&B: this run is kept in wandb/; `inv wandb.sync` uploads it")
    run = wandb.init(
        id=run_id,
        resume="allow",
        project=tracking["project"],
        entity=tracking["entity"],
        mode="disabled" if mode == "disabled" else "offline",
        dir=wandb_folder().parent,
        settings=own,
        name=os.environ.get("DVC_EXP_NAME"),
        **more,
    )
    if mode == "online" and not problem:
        upload.start(Path(run.dir).parent)
    return run


def resolve_mode(mode: str) -> str:
    """Return "online", "offline" or "disabled".

    Where the config leaves it open, WANDB_MODE or `wandb offline` decide, then an API key.

    Raises:
        VariableError: a setting of W&B is wrong.
    """
    configured = settings().mode
    if mode != "auto":
        return mode
    if configured == "shared":
        raise VariableError("WANDB_MODE: one of online, offline, disabled, and not shared")
    if "WANDB_MODE" in os.environ or configured != "online":
        return {"dryrun": "offline", "run": "online"}.get(configured, configured)
    return "online" if wandb.login(prompt=False, verify=False) else "offline"
