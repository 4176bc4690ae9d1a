"""The kinds of inputs and targets that conf/data/ may declare, and the keys of each."""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from .values import ConfigError, Rule, at_least, between, check, one_of

LARGEST_PIXEL = 2**24  # up to here, float32 has every whole number
INPUT_NAME = re.compile("[a-z][a-z0-9_]*")  # of arrays, files and the exported model's inputs
TARGET = "target"  # the array of data/raw/NAME.npz that is no input


def _are_different(names: list[str]) -> bool:
    return len(set(names)) == len(names) >= 2 and all(name.strip() for name in names)


def _is_range(limits: list[float]) -> bool:
    return limits[0] < limits[1]


NAMES = Rule(_are_different, "must be at least two different names", whole=True)
RANGE = Rule(_is_range, "must be the lowest and the highest value", whole=True)
COLUMN_NAME = Rule(lambda name: bool(name.strip()), "must be a name")


@dataclass(kw_only=True)
class Image:
    kind: str
    rows: Annotated[int, at_least(1)]
    columns: Annotated[int, at_least(1)]
    max_value: Annotated[int, between(1, LARGEST_PIXEL)]
    channels: Annotated[int | None, at_least(1)] = None  # arrays (n, rows, columns, channels)


@dataclass(kw_only=True)
class Column:
    name: Annotated[str, COLUMN_NAME]
    unit: str | None = None
    range: Annotated[tuple[float, float] | None, RANGE] = None
    choices: Annotated[list[str] | None, NAMES] = None


@dataclass(kw_only=True)
class Features:
    kind: str
    columns: list[Column]


@dataclass(kw_only=True)
class Text:
    kind: str
    length: Annotated[int, at_least(1)]  # bytes of UTF-8


@dataclass(kw_only=True)
class Classes:
    kind: str
    names: Annotated[list[str], NAMES]


@dataclass(kw_only=True)
class Value:
    kind: str
    name: Annotated[str, COLUMN_NAME]
    unit: str | None = None


INPUTS: dict[str, type] = {"image": Image, "features": Features, "text": Text}
TARGETS: dict[str, type] = {"classes": Classes, "value": Value}


def validate(data: dict[str, Any]) -> None:
    """Check the inputs and the target that the config's `data` declares.

    Raises:
        ConfigError: names the first key that is wrong.
    """
    if not data["inputs"]:
        raise ConfigError("data.inputs", "must have at least one input")
    arrays = [TARGET]
    for name, declared in data["inputs"].items():
        key = f"data.inputs.{name}"
        if not INPUT_NAME.fullmatch(str(name)):
            raise ConfigError(key, "the name must be a-z, 0-9 and _, and start with a letter")
        kind = _kind_of(declared, key, INPUTS)
        if kind == "features" and isinstance(declared.get("columns"), list):
            # Before the rest: an error names the column, where `check` has its index alone.
            arrays += _check_columns(declared["columns"], f"{key}.columns")
            if name == TARGET:
                raise ConfigError(key, "is the name of the target")
        else:
            arrays.append(name)
        check(INPUTS[kind], declared, f"{key}.")
    kind = _kind_of(data["target"], "data.target", TARGETS)
    check(TARGETS[kind], data["target"], "data.target.")
    repeated = [name for index, name in enumerate(arrays) if name in arrays[:index]]
    if repeated:
        problem = f"{repeated[0]} names two arrays of data/raw/, or the target"
        raise ConfigError("data.inputs", problem)


def _kind_of(declared: Any, key: str, kinds: dict[str, type]) -> str:
    if not isinstance(declared, dict) or "kind" not in declared:
        raise ConfigError(key, f"needs kind, one of {', '.join(kinds)}")
    kind = declared["kind"]
    if not isinstance(kind, str) or kind not in kinds:
        raise ConfigError(f"{key}.kind", f"{kind} {one_of(*kinds).text}")
    return kind


def _check_columns(columns: list[Any], key: str) -> list[str]:
    """Return the names of the columns of a `features` input."""
    if not columns:
        raise ConfigError(key, "must have at least one column")
    for column in columns:
        if not isinstance(column, dict):
            raise ConfigError(key, f"{column} is not a column: `name: {column}`")
        try:
            check(Column, column)
        except ConfigError as error:
            name = column.get("name", "one without a name")
            raise type(error)(key, f"column {name}: {error}") from None
        if column.get("range") is not None and column.get("choices") is not None:
            raise ConfigError(key, f"column {column['name']} has range and choices: leave one out")
    return [column["name"] for column in columns]
