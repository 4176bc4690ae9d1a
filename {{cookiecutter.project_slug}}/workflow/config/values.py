"""Checks a value against its declared type and rule. None is converted: it is right or refused."""

import difflib
import json
import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

UNSET = "???"  # OmegaConf's mark of a key that has no value yet
LARGEST_INT = 2**63 - 1
NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


class ConfigError(Exception):
    """A key of the config is unknown or missing, or its value is wrong; the text says which."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key = key
        self.problem = problem


class UnquotedError(ConfigError):
    """A text was read as a number, or as true or false, because it is not in quotes."""


@dataclass(frozen=True)
class Rule:
    """Which values of its type a key may have, as in `Annotated[int, at_least(1)]`.

    Args:
        allows: whether a value is allowed; of a list, whether each item is.
        text: what is said of one that is not, after the value itself.
        whole: whether the rule is about a list as such.
        choices: all values, where they are few.
    """

    allows: Callable[[Any], bool]
    text: str
    whole: bool = False
    choices: tuple[Any, ...] = ()


def at_least(low: float) -> Rule:
    return Rule(lambda value: value >= low, f"must be at least {low}")


def between(low: float, high: float) -> Rule:
    """Allow both ends, too."""
    text = f"must be at least {low} and at most {high}"
    return Rule(lambda value: low <= value <= high, text)


def below(high: float, low: float = 0) -> Rule:
    """Allow `low`, but not `high`."""
    return Rule(lambda value: low <= value < high, f"must be at least {low} and below {high}")


def inside(low: float, high: float) -> Rule:
    """Allow neither end."""
    return Rule(lambda value: low < value < high, f"must be above {low} and below {high}")


def one_of(*choices: Any) -> Rule:
    names = (choice if isinstance(choice, str) else _shown(choice) for choice in choices)
    text = f"is not one of {', '.join(names)}"
    return Rule(lambda value: value in choices, text, choices=choices)


def check(schema: type, given: dict[str, Any], prefix: str = "") -> None:
    """Check the keys, types and values of a node of the config against a dataclass.

    Args:
        prefix: what comes before the names of `given` in a dotted key.

    Raises:
        ConfigError: names the first key that is wrong, and the nearest right name.
    """
    known = {field.name: field for field in fields(schema)}
    for name in given:
        if name not in known:
            raise ConfigError(f"{prefix}{name}", f"no such key; {nearest(str(name), [*known])}")
    for name, declared in known.items():
        value = given.get(name, UNSET)
        if value == UNSET:
            if declared.default is MISSING and declared.default_factory is MISSING:
                raise ConfigError(f"{prefix}{name}", "is missing")
        else:
            _check_value(f"{prefix}{name}", value, declared.type)


def nearest(name: str, names: list[str]) -> str:
    """Say which of `names` was probably meant, in words to put behind a complaint."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(sorted(names))}" if names else "it takes no keys"


def _check_value(key: str, value: Any, declared: Any) -> None:
    if isinstance(declared, type) and is_dataclass(declared):
        check(declared, _group(key, value), f"{key}.")
        return
    rule = None
    if get_origin(declared) is Annotated:
        declared, rule = get_args(declared)
    if rule and rule.choices and value is not None and value not in rule.choices:
        raise ConfigError(key, f"{_shown(value)} {rule.text}")
    _check_type(key, value, declared)
    if rule and value is not None:
        for item in value if isinstance(value, list) and not rule.whole else [value]:
            if not rule.allows(item):
                raise ConfigError(key, f"{_shown(item)} {rule.text}")


def _check_type(key: str, value: Any, wanted: Any) -> None:
    origin, arguments = get_origin(wanted), get_args(wanted)
    if wanted is Any:
        return
    if NoneType in arguments:
        if value is not None:
            _check_type(key, value, next(kind for kind in arguments if kind is not NoneType))
    elif origin is dict:
        _group(key, value)
    elif origin in (list, tuple):
        if not isinstance(value, list):
            raise ConfigError(key, f"{_shown(value)} is not a list")
        if origin is tuple and len(value) != len(arguments):
            raise ConfigError(key, f"{_shown(value)} must have {len(arguments)} items")
        for item in value:
            _check_type(key, item, arguments[0])
    else:
        _check_scalar(key, value, wanted)


def _group(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(key, f"{_shown(value)} is not a group of keys")
    return value


def _check_scalar(key: str, value: Any, wanted: type) -> None:
    if type(value) is wanted or (wanted is float and type(value) is int):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(key, f"{value} is not a finite number")
        if isinstance(value, int) and abs(value) > LARGEST_INT:
            raise ConfigError(key, f"{value} does not fit into 64 bits")
        return
    if wanted is str and isinstance(value, bool):
        raise UnquotedError(
            key, f"{_shown(value)} is not text; quote it (unquoted, no, off and false are the same)"
        )
    if wanted is str and isinstance(value, int | float):
        raise UnquotedError(key, f"{_shown(value)} is not text; quote it")
    if isinstance(value, str) and wanted in (int, float, bool):
        raise ConfigError(key, f"{value!r} is text, not {NAMES[wanted]}")
    raise ConfigError(key, f"{_shown(value)} is not {NAMES[wanted]}")


def _shown(value: Any) -> str:
    """Return a value as YAML has it."""
    return json.dumps(value, ensure_ascii=False)
