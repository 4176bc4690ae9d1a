"""The keys of conf/cluster/ and conf/resources/, which a job is submitted by."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from .values import Rule, at_least, one_of


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"(\d+-)?\d+:[0-5]\d:[0-5]\d", value))


def _is_memory(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[1-9]\d*[KMGT]", value))


TIME = Rule(_is_time, "must be hours:minutes:seconds or days-hours:minutes:seconds, in quotes")
MEMORY = Rule(_is_memory, "must be an amount with its unit, such as 512M or 4G")


@dataclass(kw_only=True)
class Cluster:
    scheduler: Annotated[str, one_of("local", "slurm")]
    signal_seconds: Annotated[int, at_least(1)]
    max_requeues: Annotated[int, at_least(0)]
    container: Annotated[str, one_of("apptainer", "enroot")]
    setup: list[str]
    options: dict[str, Any]


@dataclass(kw_only=True)
class Resources:
    nodes: Annotated[int, at_least(1)]
    cpus: Annotated[int, at_least(1)]
    gpus: Annotated[int, at_least(0)]
    memory: Annotated[str, MEMORY]
    time: Annotated[str, TIME]
    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    image: str | None
