"""`inv wandb.sync`: upload the runs that were made offline, with their files and artifacts.

`wandb sync` alone reports success (its exit code is 0) for a run that it could not upload, and
for one whose artifacts are gone; it gives up on all runs for the sake of an empty one. So each
run is looked at before its upload, and again after it.
"""

import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import wandb
from wandb.errors import AuthenticationError

from .run import set_data_folder, wandb_folder

HEADER = 7  # bytes of W&B's own at the start of a log
QUIET = 60  # seconds; a living run writes the use of its machine every 15


def main() -> None:
    set_data_folder()
    os.environ["WANDB_DIR"] = str(wandb_folder().parent)  # `wandb sync` writes its debug log there
    os.environ["WANDB_MODE"] = "online"  # whoever works offline asks to upload all the same
    os.environ["WANDB_SILENT"] = "false"  # or `wandb sync` keeps its errors to itself
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


def log_in() -> str | None:
    """Return why the server can't be used, in one line, or None if it takes the API key."""
    settings = wandb.setup(wandb.Settings(silent=True)).settings
    if problem := unreachable(settings.base_url):
        return f"{settings.base_url} can't be reached: {problem}"
    try:
        if wandb.login(prompt=False, verify=True):
            return None
    except AuthenticationError as error:
        reason = " ".join(str(error).split())
        return f"{settings.base_url} can't be reached, or refuses the API key: {reason}"
    return "no API key: `wandb login`, or put WANDB_API_KEY into .env, then `inv wandb.sync`"


def unreachable(url: str) -> str | None:
    """Return why nobody answers at `url`: W&B itself would try again for minutes."""
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except urllib.error.URLError as error:
        # An answer that is an error, or a certificate, is for W&B to judge.
        if isinstance(error.reason, ConnectionError | TimeoutError | socket.gaierror):
            return str(error.reason)
    except TimeoutError as error:
        return str(error)
    return None


def upload(folders: list[Path]) -> tuple[str, str]:
    """Upload one run; return "uploaded", "skipped" or "failed", and where to or why."""
    missing = []
    for folder in folders:
        alive = written_lately(log_of(folder))
        if not alive:
            mend(log_of(folder))
        records = list(read(folder))
        if alive and not any(record["type"] == "exit" for record in records):
            return "skipped", "it is still being written, or was killed in the last minute"
        missing += [path for path in staged(records) if not path.exists()]
    if missing:
        text = f"{len(missing)} of its artifacts' files are gone; bring back {missing[0]}"
        return "failed", text
    return send(folders)


def send(folders: list[Path]) -> tuple[str, str]:
    """Run `wandb sync` and judge by what it leaves behind: its exit code is always 0."""
    start = time.time()
    process = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", *map(str, folders)],
        cwd=wandb_folder().parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    lines = re.sub(r"\x1b\[[\d;]*m", "", process.stdout).splitlines()
    said = [line.partition("ERROR")[2].strip() for line in lines if "ERROR" in line]
    logged = list(logged_errors(since=start))
    for folder in folders:
        # Marked as uploaded, which it is not: let the next call send it again. Rows of the
        # history that arrived come once more then, at the same steps.
        if any(name == folder.name for name, _ in logged):
            marker(folder).unlink(missing_ok=True)
    errors = [message for _, message in logged] + said
    if not errors and all(marker(folder).exists() for folder in folders):
        urls = re.findall(r"View run .* at (\S+)", process.stdout)
        return "uploaded", urls[-1] if urls else "done"
    return "failed", (errors or lines or ["wandb sync did not start"])[-1]


def logged_errors(since: float) -> Iterator[tuple[str, str]]:
    """Yield the folder's name and the message of what `wandb sync` could not send.

    That an artifact was refused stands in its debug log and nowhere else.
    """
    for log in (wandb_folder() / "logs").glob("debug-sync*.log"):
        if log.stat().st_mtime < since:
            continue
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            entry = json.loads(line)
            # "api:" tells of each attempt, also where the next one succeeds.
            if entry["level"] == "ERROR" and not entry["msg"].startswith("api:"):
                yield Path(entry.get("sync_path", "")).parent.name, entry["msg"]


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a log that tell of artifacts and of the end of the process."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # where it says that the log has no end
        encoding="utf-8",
    ) as process:
        for line in process.stdout or ():
            if '"type":"artifact"' in line or '"type":"exit"' in line:
                yield json.loads(line)


def staged(records: list[dict[str, Any]]) -> Iterator[Path]:
    """Yield where the files of the artifacts wait; W&B skips a missing one without a word."""
    for record in records:
        manifest = record.get("artifact", {}).get("manifest", {})
        for entry in manifest.get("contents", []):
            if "local_path" in entry:  # a reference to another place has none
                yield Path(entry["local_path"])


def mend(log: Path) -> None:
    """Cut off the record that a killed process left half-written.

    With half a record at the end, `wandb sync` never marks the log as uploaded, and leaves the
    run's later logs alone.
    """
    content = log.read_bytes()
    end = whole(content)
    if end < len(content):
        os.truncate(log, end)


def whole(content: bytes) -> int:
    """Return the length of a log up to the end of its last complete record.

    After W&B's header it is a LevelDB log (github.com/google/leveldb, doc/log_format.md): blocks
    of 32 KiB with chunks of checksum (4 bytes), length (2), type (1) and data. A record is one
    chunk (type 1), or a first (2), middle ones (3) and a last (4). No chunk starts in the last 6
    bytes of a block.
    """
    block, head = 32768, 7
    end = position = HEADER
    while position + head <= len(content):
        left = block - position % block
        if left < head:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        position += head + length
        if kind not in (1, 2, 3, 4) or position > len(content):
            break
        if kind in (1, 4):
            end = position
    return end


def written_lately(log: Path) -> bool:
    """Whether a process may still be writing: mending its log would damage it."""
    return time.time() - log.stat().st_mtime < QUIET


def log_of(folder: Path) -> Path:
    return next(folder.glob("run-*.wandb"))


def marker(folder: Path) -> Path:
    """Return the file that `wandb sync` makes beside a log when it has uploaded it."""
    return log_of(folder).with_suffix(".wandb.synced")


if __name__ == "__main__":
    main()
