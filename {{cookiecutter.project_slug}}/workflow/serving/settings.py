"""How a model is served: conf/serving/default.yaml, and the environment."""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

import yaml

from ..errors import CommandError

FILE = Path("conf/serving/default.yaml")
PREFIX = "SERVING_"
Provider = Literal["cpu", "cuda"]
MAY_BE_0 = {"log_every", "max_wait_ms"}
AT_MOST = {"scale_down_after_s": 3600}  # that Kubernetes takes


@dataclass
class Settings:
    """The keys of conf/serving/, where each has its meaning and unit."""

    title: str
    provider: Provider
    threads: int
    max_batch_size: int
    max_wait_ms: int
    capacity: int
    timeout_ms: int
    max_body_bytes: int
    log_every: int
    log_max_bytes: int
    memory_mb: int
    web_memory_mb: int
    min_replicas: int
    max_replicas: int
    cpu_percent: int
    cpu_request_percent: int
    queue_per_replica: int
    scale_down_after_s: int

    @property
    def image(self) -> str:
        """The target of docker/docker-bake.hcl that serves with these settings."""
        return "serve-gpu" if self.provider == "cuda" else "serve"


def load(file: Path = FILE) -> Settings:
    """Return the settings of a file, each replaced by its variable SERVING_… where that is set.

    Raises:
        CommandError: a key is missing or unknown, or has a value that is not allowed.
    """
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    known = [field.name for field in fields(Settings)]
    for name in [*content, *known]:
        if name not in known or name not in content:
            problem = "is missing" if name in known else "is no such key"
            raise CommandError(f"{file}: {name} {problem}")
    title = os.environ.get(f"{PREFIX}TITLE", content["title"])
    if not isinstance(title, str) or not title.strip():
        raise CommandError(f"serving.title: {title!r} is not text; quote it")
    provider = os.environ.get(f"{PREFIX}PROVIDER", content["provider"])
    if provider not in get_args(Provider):
        choices = ", ".join(get_args(Provider))
        raise CommandError(f"serving.provider: {provider!r} is not one of {choices}")
    values = {}
    for name in (name for name in known if name not in ("title", "provider")):
        value = os.environ.get(f"{PREFIX}{name.upper()}", content[name])
        if not str(value).isdecimal():
            raise CommandError(f"serving.{name}: {value!r} must be a positive number")
        values[name] = int(value)
    if wrong_value := refusal(values):
        raise CommandError("serving.{}: {}".format(*wrong_value))
    return Settings(title=title, provider=provider, **values)


def refusal(values: dict[str, int]) -> tuple[str, str] | None:
    """Return the first key whose value cannot be served with, and why; None where there is none."""
    for name, value in values.items():
        if value < (0 if name in MAY_BE_0 else 1):
            return name, f"{value} must be a positive number"
        if value > AT_MOST.get(name, value):
            return name, f"{value} is more than {AT_MOST[name]}"
    smallest, largest = values["min_replicas"], values["max_replicas"]
    if smallest > largest:
        return "min_replicas", f"{smallest} is more than max_replicas, {largest}"
    return None
