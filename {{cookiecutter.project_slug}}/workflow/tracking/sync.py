"""`inv wandb.sync`: upload the runs that were made offline, with their files and artifacts.

`wandb sync` alone reports success (its exit code is 0) for a run that it could not upload, and
for one whose artifacts are gone; it stops at an empty one, for all runs. So each
run is looked at before its upload, and again after it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import wandb
from wandb.sdk.lib.service.service_connection import WandbApiFailedError

from ..errors import CommandError, one_line
from . import log_reader
from .arrived import remove, state_of, write_rest
from .server import log_in
from .transaction_log import (
    HEADER,
    log_of,
    marker,
    repair,
    set_data_folder,
    synced,
    wandb_folder,
    whole,
    written_lately,
)


def main() -> None:
    set_variables()
    runs = find_runs(wandb_folder())
    if not runs:
        print("nothing to upload")
        return
    if problem := log_in():
        raise SystemExit(problem)
    outcomes: Counter[str] = Counter()
    for number, (run_id, folders) in enumerate(runs.items(), 1):
        print(f"{number}/{len(runs)}  run {run_id} … ", end="", flush=True)
        outcome, detail = upload(folders)
        outcomes[outcome] += 1
        print(f"{outcome}: {detail}", flush=True)
    print(", ".join(f"{outcomes[name]} {name}" for name in ("uploaded", "skipped", "failed")))
    if outcomes["failed"]:
        raise SystemExit(1)


def set_variables() -> None:
    """Set what `wandb sync` reads of the environment."""
    set_data_folder()
    os.environ["WANDB_DIR"] = str(wandb_folder().parent)  # it writes its debug log there
    os.environ["WANDB_MODE"] = "online"  # whoever works offline asks to upload all the same
    os.environ["WANDB_SILENT"] = "false"  # or it keeps its errors to itself


def find_runs(parent: Path) -> dict[str, list[Path]]:
    """Return the folders to upload of each run: one for each process that wrote to it, in order.

    A folder that a killed process left without a record is removed: for its sake `wandb sync`
    would refuse all others.
    """
    runs: dict[str, list[Path]] = {}
    for log in sorted(parent.glob("offline-run-*/run-*.wandb")):
        if marker(log.parent).exists():
            continue
        if not written_lately(log) and whole(log.read_bytes()) <= HEADER:
            shutil.rmtree(log.parent)
            print(f"{log.parent.name} removed: its process ended before it had written anything")
            continue
        runs.setdefault(log.stem.removeprefix("run-"), []).append(log.parent)
    return runs


def upload(folders: list[Path]) -> tuple[str, str]:
    """Upload one run; return "uploaded", "skipped" or "failed", and where to or why."""
    missing = []
    for folder in folders:
        alive = written_lately(log_of(folder))
        if not alive:
            repair(log_of(folder))
        try:
            logged = log_reader.read(folder)
        except CommandError as error:
            return "failed", str(error)
        if alive and not logged.has_ended:
            return "skipped", "it is still being written, or was killed in the last minute"
        # W&B skips a file that is gone without a word.
        missing += [path for path in log_reader.staged(logged.artifacts) if not path.exists()]
    if missing:
        text = (
            f"{len(missing)} of its artifacts' files are gone, such as {missing[0]}: put them back"
        )
        return "failed", text
    return send(folders)


def send(folders: list[Path]) -> tuple[str, str]:
    """Upload the rest of a run, and judge by what it leaves behind: the exit code is always 0."""
    start = time.time()
    try:
        logs = [write_rest(log_of(folder)) for folder in folders]
    except (wandb.Error, WandbApiFailedError) as error:
        return "failed", one_line(error)
    with start_wandb("sync", *map(str, logs)) as process:
        printed, _ = process.communicate()
    lines = re.sub(r"\x1b\[[\d;]*m", "", printed).splitlines()
    reported = [line.partition("ERROR")[2].strip() for line in lines if "ERROR" in line]
    logged = list(logged_errors(start))
    errors = [message for _, message in logged] + reported
    for folder, log in zip(folders, logs, strict=True):
        if state_of(log).exists():
            state_of(log).replace(state_of(log_of(folder)))
        # W&B marks what it could not send, too.
        if synced(log).exists() and all(name != folder.name for name, _ in logged):
            synced(log).replace(marker(folder))
        remove(log)
    if not errors and all(marker(folder).exists() for folder in folders):
        urls = re.findall(r"View run .* at (\S+)", printed)
        return "uploaded", urls[-1] if urls else "done"
    return "failed", (errors or lines or ["wandb sync did not start"])[-1]


def start_wandb(*arguments: str) -> subprocess.Popen[str]:
    """Start a command of W&B's in the project's folder; what it prints is to be read."""
    return subprocess.Popen(
        [sys.executable, "-m", "wandb", *arguments],
        cwd=wandb_folder().parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )


def refused(folders: list[Path], since: float) -> list[str]:
    """Return why parts of the runs were not taken; let the next call send these runs again.

    W&B marks them as uploaded all the same.
    """
    logged = list(logged_errors(since))
    for folder in folders:
        if any(name == folder.name for name, _ in logged):
            marker(folder).unlink(missing_ok=True)
    return [message for _, message in logged]


def logged_errors(since: float) -> Iterator[tuple[str, str]]:
    """Yield the folder's name and the message of what `wandb sync` could not send.

    That an artifact was refused stands in its debug log and nowhere else.
    """
    for log in (wandb_folder() / "logs").glob("debug-sync*.log"):
        if log.stat().st_mtime < since:
            continue
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            entry = json.loads(line)
            # "api:" reports each attempt, also where the next one succeeds.
            if entry["level"] == "ERROR" and not entry["msg"].startswith("api:"):
                yield Path(entry.get("sync_path", "")).parent.name, entry["msg"]


if __name__ == "__main__":
    main()
