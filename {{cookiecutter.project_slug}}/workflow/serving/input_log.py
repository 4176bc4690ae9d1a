"""The log of what a service was asked and what it answered: Parquet files, read by `monitoring`.

No request is slowed or refused for it: a thread of its own writes, and what cannot be written, or
waits beyond a bound, is dropped. A file appears whole or not at all. What a killed process had not
written yet is lost: at most SECONDS, or FILE_BYTES.
"""

import atexit
import contextlib
import io
import json
import os
import queue
import secrets
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from arro3.core import Array, DataType, Field, Table, fixed_size_list_array
from arro3.io import write_parquet

from ..signature import Inputs
from .batching import joined
from .model import Model

SECONDS = 60.0  # after which a file is written, however few its rows
FILE_BYTES = 2**23  # of the memory that the rows of a file take
WAITING_BYTES = 2**26  # beyond which no more is kept
INPUT = "input/"  # before the name of an input, in a column's name
ENTRY_BYTES = 1000  # of memory, beside the arrays
END_SECONDS = 5.0  # for the last file, when the service ends


@dataclass(frozen=True)
class Entry:
    """A request that was answered."""

    time: int  # microseconds since 1970, UTC
    request_id: str | None  # the protocol's `id`, where it was given
    inputs: Inputs  # (n, …) by name
    answers: np.ndarray  # (n, …)

    @property
    def size(self) -> int:
        """The memory that it takes, in bytes."""
        arrays = (*self.inputs.values(), self.answers)
        return sum(array.nbytes for array in arrays) + ENTRY_BYTES


def folder(model: str) -> Path:
    """Return where the log of a model is kept: a folder of SERVING_LOG_FOLDER."""
    return Path(os.environ.get("SERVING_LOG_FOLDER", "runs/served")) / model


class Log:
    """The log of one worker process, until the process ends."""

    def __init__(self, model: Model, every: int, max_bytes: int) -> None:
        """Start it.

        Args:
            every: one of so many requests is kept.
            max_bytes: of all files of the model; beyond, the oldest go.
        """
        self._files = Files(model, max_bytes)
        self._every = every
        self._seen = 0
        self._put = self._taken = 0  # bytes; each is counted by one thread
        self._queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    def add(self, request_id: str | None, inputs: Inputs, answers: np.ndarray) -> None:
        """Keep a request, if it is one of those that are kept. Its arrays may not change later."""
        self._seen += 1
        if self._seen % self._every or self._put - self._taken > WAITING_BYTES:
            return
        entry = Entry(time.time_ns() // 1000, request_id, inputs, answers)
        self._put += entry.size
        self._queue.put(entry)

    def _run(self) -> None:
        more = True
        while more:
            entries, more = self._gather()
            if entries:
                self._files.write(entries)
                self._taken += sum(entry.size for entry in entries)

    def _gather(self) -> tuple[list[Entry], bool]:
        """Wait for the entries of a file; return them, and whether there may be more."""
        entries: list[Entry] = []
        size, end = 0, 0.0
        while size < FILE_BYTES:
            try:
                timeout = max(end - time.monotonic(), 0) if entries else None
                entry = self._queue.get(timeout=timeout)
            except queue.Empty:
                break
            if entry is None:
                return entries, False
            if not entries:
                end = time.monotonic() + SECONDS
            entries.append(entry)
            size += entry.size
        return entries, True

    def _end(self) -> None:
        self._queue.put(None)
        self._thread.join(END_SECONDS)


class Files:
    """The files of a model's log; those of other processes are there too."""

    def __init__(self, model: Model, max_bytes: int) -> None:
        self._model = model
        self._folder = folder(model.name)
        self._max_bytes = max_bytes
        self._failed = False

    def write(self, entries: list[Entry]) -> None:
        """Write a file, or say why it cannot be written: once, until one is written again."""
        # Sorted by name, files are in the order of their time, and no two processes share a name.
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"
        part = self._folder / f"{name}.part"
        try:
            content = io.BytesIO()
            write_parquet(table(entries, self._model), content, compression="zstd(3)")
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(content.getvalue())
            part.replace(part.with_suffix(".parquet"))
            self._remove_the_oldest()
            self._failed = False
        except (
            BaseException
        ) as error:  # arro3's panics are no Exception; requests must still be answered
            if not self._failed:
                print(f"serve: the log is not written: {error}", file=sys.stderr, flush=True)
            self._failed = True
            remove(part)

    def _remove_the_oldest(self) -> None:
        size = 0
        for file in sorted(self._folder.iterdir(), reverse=True):
            try:
                size += file.stat().st_size
            except FileNotFoundError:
                continue  # another process removed it
            if size > self._max_bytes:
                remove(file)


def table(entries: list[Entry], model: Model) -> Table:
    """Return a row for each sample: `input/NAME` for each input, and what the model answered.

    Classes are in `predicted` and `confidence`, values in `predicted`; what has no kind that is
    known here is in `output`, as it is.
    """
    answers = np.concatenate([entry.answers for entry in entries])
    lengths = [len(entry.answers) for entry in entries]
    times = np.repeat(np.array([entry.time for entry in entries]), lengths)
    ids = [entry.request_id for entry, n in zip(entries, lengths, strict=True) for _ in range(n)]
    string = DataType.string()
    every = joined([entry.inputs for entry in entries])
    return Table.from_pydict(
        {
            "time": Array.from_numpy(times).cast(DataType.timestamp("us", tz="UTC")),
            "request_id": Array(ids, string),
            "model": Array([model.name] * len(answers), string),
            "version": Array([model.version] * len(answers), string),
            **{f"{INPUT}{name}": tensors(array) for name, array in every.items()},
            **_answered(model.output, answers),
        }
    )


def _answered(output: dict[str, Any], answers: np.ndarray) -> dict[str, Array]:
    match output.get("kind"):
        case "classes":
            classes = [output["names"][index] for index in answers.argmax(axis=1)]
            confidence = np.ascontiguousarray(answers.max(axis=1))
            return {
                "predicted": Array(classes, DataType.string()),
                "confidence": Array.from_numpy(confidence),
            }
        case "value":
            return {"predicted": Array.from_numpy(np.ascontiguousarray(answers))}
    return {"output": tensors(answers)}


def tensors(samples: np.ndarray) -> Array:
    """Return samples (n, …) as Arrow's own tensors, which carry their shape.

    https://arrow.apache.org/docs/format/CanonicalExtensions.html#fixed-shape-tensor
    """
    values = Array.from_numpy(samples.reshape(-1))
    length = samples[0].size
    field = Field(
        "samples",
        DataType.list(Field("item", values.type, nullable=False), length),
        metadata={
            "ARROW:extension:name": "arrow.fixed_shape_tensor",
            "ARROW:extension:metadata": json.dumps({"shape": samples.shape[1:]}),
        },
    )
    return fixed_size_list_array(values, length, type=field)


def remove(file: Path) -> None:
    """Remove a file if that can be done."""
    with contextlib.suppress(OSError):
        file.unlink()
