"""What has arrived of a run whose upload was interrupted.

W&B sends a log from its start, and the server appends: rows of the history would be there twice.
"""

import shutil
from pathlib import Path

import wandb
from wandb.errors import CommError
from wandb.proto.wandb_internal_pb2 import Record, RunRecord  # type: ignore[attr-defined]

from .log_reader import read_records
from .transaction_log import HEADER, framed, synced


def write_rest(log: Path) -> Path:
    """Write what has not arrived of a log beside it, and return its path.

    W&B marks the copy as uploaded: `log` itself is marked when nothing of it was refused.

    Raises:
        wandb.Error, WandbApiFailedError: the server did not say what it has.
    """
    content = log.read_bytes()
    read = list(read_records(content))
    run = next((record.run for record in read if record.HasField("run")), None)
    arrived = rows_at(run) if run else set()
    positions = {at for at, record in enumerate(read) if time_of(record) in arrived}
    # W&B sends in the order of the log: metrics of the machine before that row have arrived too.
    last = max(positions, default=0)
    missing = [
        record.SerializeToString()
        for at, record in enumerate(read)
        if at not in positions and not (record.HasField("stats") and at < last)
    ]
    rest = log.with_name(log.name.replace("run-", "rest-", 1))
    if state_of(rest).exists():  # of an upload that was interrupted
        state_of(rest).replace(state_of(log))
    remove(rest)
    rest.write_bytes(framed(content[:HEADER], missing) if positions else content)
    if state_of(log).exists():
        shutil.copy(state_of(log), state_of(rest))
    return rest


def remove(rest: Path) -> None:
    for path in (rest, state_of(rest), synced(rest)):
        path.unlink(missing_ok=True)


def state_of(log: Path) -> Path:
    """Return the file in which W&B keeps the step and time from which it counts those of a log."""
    return log.with_suffix(".wandb.syncstate")


def rows_at(run: RunRecord) -> set[float]:
    """Return the times at which the rows of the history that the server has were logged.

    They distinguish rows: W&B counts the steps of a run's later logs from 0.
    """
    from wandb.apis.public.runs import RunNotFoundError  # takes a while, and only uploads need it

    path = [run.entity, run.project, run.run_id]
    try:
        remote_run = wandb.Api().run("/".join(filter(None, path)))
        # Of chosen keys the server would give a sample.
        rows = remote_run.scan_history(use_cache=False)
        return {row["_timestamp"] for row in rows if "_timestamp" in row}
    except CommError as error:
        if isinstance(error.exc, RunNotFoundError):
            return set()
        raise


def time_of(record: Record) -> float | None:
    """Return when a row of the history was logged, in seconds; None for other records."""
    for item in record.history.item:
        if "_timestamp" in (item.key, *item.nested_key):
            return float(item.value_json)
    return None
