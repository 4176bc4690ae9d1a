"""References to other keys, `${another.key}`: one that leads nowhere is named with its own key."""

import re
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..dotted import select
from ..errors import one_line
from .values import ConfigError, nearest

MISSING = re.compile(r"Interpolation key '(.+)' not found")


def resolve(config: DictConfig) -> None:
    """Replace each reference of a config by the value that it refers to.

    Raises:
        ConfigError: one cannot be resolved; names the key that holds it.
    """
    try:
        OmegaConf.resolve(config)
    except OmegaConfBaseException as error:
        raise _named(config, error) from error


def written(config: DictConfig, key: str) -> Any:
    """Return the value of a dotted key as it is written, its references unresolved."""
    return select(OmegaConf.to_container(config, resolve=False), key.split("."))


def _named(config: DictConfig, error: OmegaConfBaseException) -> Exception:
    failing = [(key, text) for key, text in _references(config) if not _resolves(config, key)]
    if not failing:
        return error
    missing = MISSING.search(str(error))
    name = missing[1] if missing else ""
    # What refers to a key that itself refers to a missing one fails, too: it comes last.
    key, text = min(failing, key=lambda reference: name not in reference[1])
    if not missing:
        return ConfigError(key, f"{text}: {one_line(error)}")
    return ConfigError(key, f"{text}: there is no key {name}; {_instead(config, name)}")


def _instead(config: DictConfig, name: str) -> str:
    """Say which key was probably meant, by the first part of `name` that there is not."""
    node: Any = OmegaConf.to_container(config, resolve=False)
    for part in name.split("."):
        keys = [str(key) for key in node] if isinstance(node, dict) else []
        if part not in keys:
            return nearest(part, keys)
        node = node[part]
    return nearest(name, [])


def _references(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Yield the dotted key and the text of each value with a reference."""

    def walk(node: Any, key: str) -> Iterator[tuple[str, str]]:
        children: Any = ()
        if isinstance(node, str) and "${" in node:
            yield key, node
        elif isinstance(node, dict):
            children = node.items()
        elif isinstance(node, list):
            children = enumerate(node)
        for name, child in children:
            yield from walk(child, f"{key}.{name}" if key else str(name))

    return walk(OmegaConf.to_container(config, resolve=False), "")


def _resolves(config: DictConfig, key: str) -> bool:
    try:
        OmegaConf.select(config, key)
    except OmegaConfBaseException:
        return False
    return True
