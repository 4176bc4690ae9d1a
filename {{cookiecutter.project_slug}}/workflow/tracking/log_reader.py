"""Reading W&B's log of a run: the one place that does."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import ArtifactRecord, Record  # type: ignore[attr-defined]

from ..errors import CommandError
from .transaction_log import log_of, records

OWN = "_wandb"  # the key of what W&B itself keeps in config and summary


@dataclass
class Logged:
    """What one process of a run has logged.

    Args:
        config: with the provenance; empty where another process has logged it.
        summary: the last value of each metric, by its name.
        step: of the last row of the history; None before the first.
        has_ended: whether the process ended by itself.
    """

    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    step: int | None = None
    artifacts: list[ArtifactRecord] = field(default_factory=list)
    has_ended: bool = False

    def named(self, type_name: str) -> list[ArtifactRecord]:
        """Return the artifacts of a type."""
        return [artifact for artifact in self.artifacts if artifact.type == type_name]


def read(folder: Path) -> Logged:
    """Return what the process of a folder has logged so far.

    Raises:
        CommandError: it is no log of W&B's.
    """
    try:
        records = list(read_records(log_of(folder).read_bytes()))
    except Exception:  # of protobuf, which only W&B imports
        raise CommandError(f"{folder}: its log cannot be read") from None
    logged = Logged()
    for record in records:
        match record.WhichOneof("record_type"):
            case "run":
                _update(logged.config, record.run.config)
            case "config":
                _update(logged.config, record.config)
            case "summary":
                _update(logged.summary, record.summary)
            case "history":
                logged.step = record.history.step.num
            case "artifact":
                logged.artifacts.append(record.artifact)
            case "exit":
                logged.has_ended = True
    logged.summary = dict(sorted(logged.summary.items()))  # W&B writes them in any order
    return logged


def read_records(content: bytes) -> Iterator[Record]:
    """Yield the complete records of a log."""
    for record, _ in records(content):
        yield Record.FromString(record)


def staged(artifacts: Iterable[ArtifactRecord]) -> Iterator[Path]:
    """Yield where the files of artifacts wait for their upload."""
    for artifact in artifacts:
        for entry in artifact.manifest.contents:
            if entry.local_path:  # a reference to another place has none
                yield Path(entry.local_path)


def _update(values: dict[str, Any], changes: Any) -> None:
    """Make the changes of a record of the config or the summary."""
    for item in changes.update:
        *parents, last = item.nested_key or [item.key]
        if OWN in (*parents, last):
            continue
        node = values
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = json.loads(item.value_json)
    for item in changes.remove:
        *parents, last = item.nested_key or [item.key]
        node = values
        for name in parents:
            node = node.get(name, {})
        node.pop(last, None)
