"""Uploading a run while it is written, by a process beside it.

What has not arrived when the run ends, `inv wandb.sync` uploads.

    python -m workflow.tracking.upload FOLDER     until the run in FOLDER ends
"""

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import wandb

from . import sync
from .server import unreachable
from .transaction_log import log_of, marker, repair, run_id, wandb_folder

WAIT = 5.0  # seconds after which the end of a run looks whether the server is there
KEPT = "it is kept in wandb/; `inv wandb.sync` uploads it"
GRACE = 5.0  # seconds to send the rest, when the run has ended and nobody waits

_started: list[tuple[Path, subprocess.Popen[bytes]]] = []


def start(folder: Path) -> None:
    """Begin to upload the run that this process writes into `folder`."""
    own_group: dict[str, Any] = {"start_new_session": True}  # Ctrl-C is for the training alone
    if sys.platform == "win32":
        own_group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    command = [sys.executable, "-m", __name__, str(folder)]
    # It sees the end of its standard input when this process is gone, however it went.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, **own_group)
    _started.append((folder, process))


def finish() -> None:
    """Wait until the run that was started last has arrived, or the server is gone."""
    if not _started:
        return
    folder, process = _started.pop()
    url = wandb.setup().settings.base_url
    reason = ""
    while not reason:
        try:
            process.wait(WAIT)
            break
        except subprocess.TimeoutExpired:
            reason = unreachable(url) or ""
            print(f"W&B: {url} can't be reached: {reason}" if reason else "W&B: still uploading …")
    if process.stdin:
        process.stdin.close()
    process.wait()
    if not marker(folder).exists():
        print(f"W&B does not have all of this run: {KEPT}")


def main() -> None:
    folder = Path(sys.argv[1])
    sync.set_variables()
    folders = sorted(wandb_folder().glob(f"offline-run-*-{run_id([folder])}"))
    earlier = [other for other in folders if other < folder and not marker(other).exists()]
    if earlier:  # of processes that were killed, or had no server
        for other in earlier:
            repair(log_of(other))
        outcome, detail = sync.send(earlier)
        if outcome != "uploaded":
            raise SystemExit(f"W&B: {detail}")
    started = time.time()
    live = sync.start_wandb("beta", "sync", "--live", str(folder))
    threading.Thread(target=end_with_the_run, args=(live,), daemon=True).start()
    for line in live.stdout or ():
        if match := re.search(r"View run .* at (\S+)", line):
            print(f"W&B: {match[1]}", flush=True)
    for problem in sync.refused([folder], since=started):
        print(f"W&B: {problem}", flush=True)


def end_with_the_run(live: subprocess.Popen[str]) -> None:
    """Stop the upload some time after the process that writes the run has gone.

    Where that was killed, its log has no end, and the upload would wait for it for ever.
    """
    os.read(sys.stdin.fileno(), 1)  # nothing ever comes: it returns at the end
    try:
        live.wait(GRACE)
    except subprocess.TimeoutExpired:
        live.terminate()


if __name__ == "__main__":
    main()
