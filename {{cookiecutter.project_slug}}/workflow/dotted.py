"""A nested config on one level: values by their dotted names, such as `optimizer.lr`."""

from collections.abc import Iterable, Mapping
from typing import Any


def select(node: Any, parts: Iterable[str], default: Any = None) -> Any:
    """Return the value of a key, given in its parts; an item of a list has its index as a part."""
    for part in parts:
        if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict) and part in node:
            node = node[part]
        else:
            return default
    return node


def flatten(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of a nested mapping; a list is one value, and so is an empty mapping."""
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
