"""Checks a value against its declared type and limits. None is converted: right, or refused."""

import difflib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, GroupedMetadata, Gt, Interval, Le, Lt, MaxLen, MinLen

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


class Made:
    """The type of what YAML has no value of: a node with `_target_` makes one."""


@dataclass(frozen=True)
class Rule:
    """A limit that no limit of annotated-types says.

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


def at_least(low: float) -> Ge:
    return Ge(low)


def between(low: float, high: float) -> Interval:
    """Allow both ends, too."""
    return Interval(ge=low, le=high)


def below(high: float, low: float = 0) -> Interval:
    """Allow `low`, but not `high`."""
    return Interval(ge=low, lt=high)


def inside(low: float, high: float) -> Interval:
    """Allow neither end."""
    return Interval(gt=low, lt=high)


def one_of(*choices: Any) -> Rule:
    names = (choice if isinstance(choice, str) else _shown(choice) for choice in choices)
    text = f"is not one of {', '.join(names)}"
    return Rule(lambda value: value in choices, text, choices=choices)


@dataclass(frozen=True)
class Parameter:
    """A key: its type, made where it is asked for, and whether it has no default."""

    declared: Callable[[], Any]
    required: bool


@dataclass(frozen=True)
class Signature:
    """The keys of a node; with `takes_others`, it may have others, too."""

    parameters: dict[str, Parameter]
    takes_others: bool = False


def declared_in(schema: type) -> Signature:
    """Return the keys that a dataclass declares."""
    return Signature(
        {
            field.name: Parameter(
                lambda field=field: field.type,  # type: ignore[misc]
                field.default is MISSING and field.default_factory is MISSING,
            )
            for field in fields(schema)
        }
    )


def check(schema: type | Signature, node: dict[str, Any], prefix: str = "") -> None:
    """Check the keys, types and values of a node of the config.

    Args:
        schema: a dataclass, or the signature of a class.
        prefix: what comes before the names of `node` in a dotted key.

    Raises:
        ConfigError: names the first key that is wrong, and the nearest right name.
    """
    signature = declared_in(schema) if isinstance(schema, type) else schema
    known = signature.parameters
    for name in node:
        if name not in known and not signature.takes_others:
            raise ConfigError(f"{prefix}{name}", f"no such key; {nearest(str(name), [*known])}")
    for name, parameter in known.items():
        value = node.get(name, UNSET)
        if value == UNSET:
            if parameter.required:
                raise ConfigError(f"{prefix}{name}", "is missing")
        else:
            check_value(f"{prefix}{name}", value, parameter.declared())


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which of `names` was probably meant, in words to put behind a complaint."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(names)}" if names else "it takes no keys"


def makes(node: Any) -> bool:
    """Whether a node of the config names a class to make."""
    return isinstance(node, dict) and "_target_" in node


def check_value(key: str, value: Any, declared: Any) -> None:
    """Check one value.

    Raises:
        ConfigError: it is of another type, or beyond a limit.
    """
    if isinstance(declared, type) and is_dataclass(declared):
        check(declared, _group(key, value), f"{key}.")
        return
    limits: tuple[Any, ...] = ()
    if get_origin(declared) is Annotated:
        declared, *rest = get_args(declared)
        limits = tuple(rest)
    for limit in limits:
        choices = getattr(limit, "choices", ())
        if choices and value is not None and value not in choices:
            raise ConfigError(key, f"{_shown(value)} {limit.text}")
    _check_type(key, value, declared)
    for limit in limits if value is not None else ():
        _check_limit(key, value, limit)


def _check_type(key: str, value: Any, declared: Any) -> None:
    origin, arguments = get_origin(declared), get_args(declared)
    if declared in (Any, Made):
        return
    if origin is Annotated or (isinstance(declared, type) and is_dataclass(declared)):
        check_value(key, value, declared)
    elif origin in (Union, UnionType):
        _check_union(key, value, arguments)
    elif declared is NoneType:
        if value is not None:
            raise ConfigError(key, f"{_shown(value)} is not null")
    elif origin is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in arguments):
            raise ConfigError(key, f"{_shown(value)} {one_of(*arguments).text}")
    elif origin is dict:
        _group(key, value)
    elif origin in (list, tuple):
        if not isinstance(value, list):
            raise ConfigError(key, f"{_shown(value)} is not a list")
        if origin is tuple and len(value) != len(arguments):
            raise ConfigError(key, f"{_shown(value)} must have {len(arguments)} items")
        kinds = arguments if origin is tuple else arguments * len(value)
        for item, kind in zip(value, kinds, strict=True):
            _check_type(key, item, kind)
    else:
        _check_scalar(key, value, declared)


def _check_union(key: str, value: Any, kinds: tuple[Any, ...]) -> None:
    if (value is None and NoneType in kinds) or (Made in kinds and makes(value)):
        return
    types = [kind for kind in kinds if kind not in (NoneType, Made)]
    choices = [choice for kind in types if get_origin(kind) is Literal for choice in get_args(kind)]
    if choices:  # one list of them for the message
        types = [kind for kind in types if get_origin(kind) is not Literal]
        types.append(Literal[tuple(choices)])
    problems = []
    for kind in types:
        try:
            _check_type(key, value, kind)
        except ConfigError as error:
            problems.append(error)
        else:
            return
    if len(problems) == 1:
        raise problems[0]
    if problems:
        texts = [error.problem.removeprefix(f"{_shown(value)} is not ") for error in problems]
        raise ConfigError(key, f"{_shown(value)} is not {' or '.join(dict.fromkeys(texts))}")


def _check_limit(key: str, value: Any, limit: Any) -> None:
    if isinstance(limit, MinLen | MaxLen):
        is_min = isinstance(limit, MinLen)
        length = limit.min_length if isinstance(limit, MinLen) else limit.max_length
        if len(value) < length if is_min else len(value) > length:
            which = "at least" if is_min else "at most"
            raise ConfigError(key, f"{_shown(value)} must have {which} {length} items")
        return
    whole = isinstance(limit, Rule) and limit.whole
    for item in value if isinstance(value, list) and not whole else [value]:
        if item is None or makes(item):
            continue
        if isinstance(limit, Rule):
            if not limit.allows(item):
                raise ConfigError(key, f"{_shown(item)} {limit.text}")
        elif problem := _beyond(item, limit):
            raise ConfigError(key, f"{_shown(item)} must be {problem}")


def _beyond(value: Any, limit: Any) -> str | None:
    """Return what a number must be, where it is beyond a limit of annotated-types."""
    texts, allowed = [], True
    for part in limit if isinstance(limit, GroupedMetadata) else [limit]:
        match part:
            case Ge(low):
                texts.append(f"at least {low}")
                allowed &= value >= low
            case Gt(low):
                texts.append(f"above {low}")
                allowed &= value > low
            case Le(high):
                texts.append(f"at most {high}")
                allowed &= value <= high
            case Lt(high):
                texts.append(f"below {high}")
                allowed &= value < high
    return None if allowed else " and ".join(texts)


def _group(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(key, f"{_shown(value)} is not a group of keys")
    return value


def _check_scalar(key: str, value: Any, declared: type) -> None:
    if type(value) is declared or (declared is float and type(value) is int):
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(key, f"{value} is not a finite number")
        if isinstance(value, int) and abs(value) > LARGEST_INT:
            raise ConfigError(key, f"{value} does not fit into 64 bits")
        return
    if declared is str and isinstance(value, bool):
        raise UnquotedError(
            key, f"{_shown(value)} is not text; quote it (unquoted, no, off and false are the same)"
        )
    if declared is str and isinstance(value, int | float):
        raise UnquotedError(key, f"{_shown(value)} is not text; quote it")
    if isinstance(value, str) and declared in (int, float, bool):
        raise ConfigError(key, f"{value!r} is text, not {NAMES[declared]}")
    raise ConfigError(key, f"{_shown(value)} is not {NAMES[declared]}")


def _shown(value: Any) -> str:
    """Return a value as YAML has it."""
    return json.dumps(value, ensure_ascii=False)
