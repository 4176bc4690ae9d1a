"""The keys that every framework's config has, and what a framework adds to them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Gt

from .values import Rule, Signature, at_least, between, inside, one_of

# Beside each key: its type, and which values of it are right. What repeats a list or a limit of a
# library is compared with it by a test, because importing the library would take seconds.
LARGEST_SEED = 2**32 - 1  # that NumPy takes


def _is_file_name(name: str) -> bool:
    return bool(name.strip()) and not set(name) & set("/\\")


def _is_project(name: str) -> bool:
    return 1 <= len(name) <= 128 and not set(name) & set("/\\#?%:")


def _is_metric(name: str) -> bool:
    return bool(name.strip()) and not name.startswith(("train/", "val/", "test/"))


def _is_tag(name: str) -> bool:
    return 1 <= len(name) <= 64


FILE_NAME = Rule(_is_file_name, "must be a file's name, without a folder")
PROJECT = Rule(_is_project, "must be 1 to 128 characters, without / \\ # ? % :")
METRIC = Rule(_is_metric, "must be a metric's name without its split, such as loss")
TAG = Rule(_is_tag, "must be 1 to 64 characters")


@dataclass(kw_only=True)
class Data:
    name: Annotated[str, FILE_NAME]  # of data/raw/NAME.npz
    inputs: dict[str, Any]  # of the kinds in data_kinds
    target: dict[str, Any]
    validation_fraction: Annotated[float, inside(0, 1)]
    test_fraction: Annotated[float, inside(0, 1)]


@dataclass(kw_only=True)
class Prepare:
    shard_mb: Annotated[float | None, Gt(0)]


@dataclass(kw_only=True)
class Metric:
    name: Annotated[str, METRIC]
    mode: Annotated[str, one_of("min", "max")]


@dataclass(kw_only=True)
class Tracking:
    mode: Annotated[str, one_of("auto", "online", "offline", "disabled")]
    project: Annotated[str, PROJECT]
    entity: str | None
    tags: Annotated[list[str], TAG]


@dataclass(kw_only=True)
class Export:
    samples: Annotated[int, at_least(0)]


@dataclass(kw_only=True)
class BaseConfig:
    framework: str
    data: Data
    prepare: Prepare
    model: dict[str, Any]
    metric: Metric
    callbacks: dict[str, Any]
    tracking: Tracking
    export: Export
    seed: Annotated[int, between(0, LARGEST_SEED)]


@dataclass(frozen=True)
class Framework:
    """What a framework's config has beside the keys above.

    Args:
        config: all keys, a subclass of BaseConfig.
        trainer: the keys of `trainer` that the workflow relies on.
        trainer_keys: all keys that `trainer` may hold; of those that are used, if they are given.
        target_keys: keys of nodes that name a class to make.
        validate: raises ConfigError where values do not go together.
        variables: environment variables that the framework reads when it is imported.
        imported: the module that imports it, where that takes care.
        lacking: keys that other frameworks have, and why this one has none.
    """

    config: type[BaseConfig]
    trainer: type
    trainer_keys: Callable[..., Signature]
    target_keys: tuple[str, ...]
    validate: Callable[[dict[str, Any]], None]
    variables: Callable[[dict[str, Any]], dict[str, str]]
    imported: str | None = None
    lacking: Mapping[str, str] = field(default_factory=dict)


def thread_variables(settings: dict[str, Any]) -> dict[str, str]:
    """Return the variables of what computes by OpenMP alone."""
    return {"OMP_NUM_THREADS": str(settings["trainer"]["threads"])}
