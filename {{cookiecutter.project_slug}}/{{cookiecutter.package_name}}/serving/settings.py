"""How a model is served: conf/serving/default.yaml, and the environment."""

import os
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

FILE = Path("conf/serving/default.yaml")
PREFIX = "SERVING_"


class SettingsError(Exception):
    """A key is missing, unknown or no positive number; the text says which, and where."""


@dataclass
class Settings:
    """The keys of conf/serving/, where each has its meaning and unit."""

    processes: int
    threads: int
    max_batch_size: int
    max_wait_ms: int
    capacity: int
    timeout_ms: int
    max_body_bytes: int


def load(file: Path = FILE) -> Settings:
    """Return the settings of a file, each replaced by its variable SERVING_… where that is set.

    Raises:
        SettingsError: a key is missing, unknown or no positive number.
    """
    written = yaml.safe_load(file.read_text(encoding="utf-8"))
    known = [field.name for field in fields(Settings)]
    for name in [*written, *known]:
        if name not in known or name not in written:
            problem = "is missing" if name in known else "is no such key"
            raise SettingsError(f"{file}: {name} {problem}")
    values = {}
    for name in known:
        value = os.environ.get(f"{PREFIX}{name.upper()}", written[name])
        if not str(value).isdecimal() or int(value) < 1:
            raise SettingsError(f"serving.{name}: {value!r} is no positive number")
        values[name] = int(value)
    return Settings(**values)
