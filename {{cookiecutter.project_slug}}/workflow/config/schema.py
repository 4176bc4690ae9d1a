"""The keys, types and values that a config may have: a wrong one is refused before a run."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, cast

from omegaconf import DictConfig, OmegaConf

from .. import credentials
from ..dotted import select
from . import data_kinds, references, targets
from .groups import Framework
from .keras import KERAS
from .pytorch import PYTORCH
from .scikit_learn import SCIKIT_LEARN
from .values import ConfigError, check, check_value, declared_in, makes, one_of

FRAMEWORKS = {"pytorch": PYTORCH, "keras": KERAS, "scikit-learn": SCIKIT_LEARN}


def validate(config: DictConfig) -> None:
    """Resolve a composed config and check its keys, types, values and their combinations.

    No value is converted: what is accepted is used as it is.

    Raises:
        ConfigError: names the first key that is wrong, and the nearest right name.
    """
    references.resolve(config)
    settings = plain(config)
    _refuse_secrets(settings)  # before any other message repeats a value
    framework = framework_of(settings)
    _check_keys(settings, framework)
    data_kinds.validate(settings["data"])
    for key in (*framework.target_keys, *(f"callbacks.{name}" for name in settings["callbacks"])):
        _require_target(settings, key)
    targets.check_nodes(settings)
    if settings["data"]["validation_fraction"] + settings["data"]["test_fraction"] >= 1:
        problem = "leaves nothing to train on beside validation_fraction"
        raise ConfigError("data.test_fraction", problem)
    framework.validate(settings)


def framework_of(settings: dict[str, Any]) -> Framework:
    """Return the framework that a config names.

    Raises:
        ConfigError: it names none that is known here.
    """
    if settings.get("framework") is None:
        known = ", ".join(FRAMEWORKS)
        raise ConfigError("framework", f"is missing in conf/config.yaml: one of {known}")
    check_value("framework", settings["framework"], Annotated[str, one_of(*FRAMEWORKS)])
    return FRAMEWORKS[settings["framework"]]


def plain(config: DictConfig) -> dict[str, Any]:
    """Return a config as plain types, its interpolations resolved."""
    return cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))


def keys_beside(key: str) -> list[str]:
    """Return the names that may stand where the last part of the dotted `key` stands."""
    nodes: list[Any] = [framework.config for framework in FRAMEWORKS.values()]
    for part in key.split(".")[:-1]:
        types = [field.type for node in nodes for field in fields(node) if field.name == part]
        nodes = [kind for kind in types if isinstance(kind, type) and is_dataclass(kind)]
    return list(dict.fromkeys(field.name for node in nodes for field in fields(node)))


def _refuse_secrets(settings: dict[str, Any]) -> None:
    """A config goes into params.yaml, which Git keeps, and into every run and model."""
    texts = list(_texts(settings))
    lines = [f"{key}: {' '.join(value.split())}" for key, value in texts]
    for secret in credentials.by_shape("\n".join(lines)):
        problem = f"is a secret ({secret.kind}), which Git and W&B would keep: put it in .env"
        raise ConfigError(texts[secret.line - 1][0], problem)


def _texts(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts in a config, each with the dotted key that it is under."""
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value, key)
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _texts(value, f"{key}.{name}" if key else str(name))


def _check_keys(settings: dict[str, Any], framework: Framework) -> None:
    """Check the keys of a framework. What names a class with `_target_` may stand beside them."""
    known = declared_in(framework.config).parameters
    own = {name: node for name, node in settings.items() if name in known or not makes(node)}
    trainer = own.get("trainer")
    if isinstance(trainer, dict):
        required = declared_in(framework.trainer).parameters
        check(framework.trainer_keys(*trainer), trainer, "trainer.")
        own["trainer"] = {name: trainer[name] for name in trainer if name in required}
    check(framework.config, own)


def _require_target(settings: dict[str, Any], key: str) -> None:
    node = select(settings, key.split("."))
    if node is not None and not makes(node):
        raise ConfigError(key, "needs _target_, the import path of the class to make")
