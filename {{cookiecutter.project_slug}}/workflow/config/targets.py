"""Nodes of the config that name a class with `_target_`: its constructor says what they hold."""

from functools import partial
from typing import Annotated, Any

from .signatures import NoSuchTargetError, signature
from .values import (
    ConfigError,
    Parameter,
    Signature,
    at_least,
    below,
    between,
    check,
    makes,
    nearest,
    one_of,
)

# Limits of a library's classes, which their signatures do not say; a test compares them.
# Those of your own class are in its signature: `dropout: Annotated[float, Interval(ge=0, lt=1)]`.
LIMITS: dict[str, dict[str, Any]] = {
    "torch.optim.": {
        "lr": at_least(0),
        "weight_decay": at_least(0),
        "momentum": at_least(0),
        "betas": below(1),
        "eps": at_least(0),
    },
    "keras.optimizers.": {
        "learning_rate": at_least(0),
        "weight_decay": at_least(0),
        "momentum": between(0, 1),
        "beta_1": below(1),
        "beta_2": below(1),
    },
    "keras.callbacks.": {
        "mode": one_of("auto", "min", "max"),
        "patience": at_least(0),
        "min_delta": at_least(0),
    },
    "lightning.pytorch.callbacks.": {
        "mode": one_of("min", "max"),
        "patience": at_least(0),
        "min_delta": at_least(0),
    },
}
# Classes that take any keyword, to refuse it when they are made.
REFUSE_OTHERS = ("keras.optimizers.",)
# By the code that makes the class of this node.
GIVEN = {
    "loader": ("folder", "inputs", "seed", "steps"),
    "optimizer": ("params",),
    "scheduler.schedule": ("optimizer",),
}
HYDRAS = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")


def check_nodes(node: Any, key: str = "") -> None:
    """Check a node of the config and those in it against the classes that they name.

    Raises:
        ConfigError: there is no such class, or it takes no such value.
    """
    children: list[tuple[Any, Any]] = []
    if isinstance(node, dict):
        if makes(node):
            _check(node, key)
        children = [*node.items()]
    elif isinstance(node, list):
        children = [*enumerate(node)]
    for name, child in children:
        check_nodes(child, f"{key}.{name}" if key else str(name))


def signature_of(target: str) -> Signature | None:
    """Return what the class at an import path takes, within limits; None if no source tells.

    Raises:
        NoSuchTargetError: there is no such class.
    """
    taken = signature(target)
    limits = next((LIMITS[start] for start in LIMITS if target.startswith(start)), None)
    if taken is None or limits is None:
        return taken
    takes_others = taken.takes_others and not target.startswith(REFUSE_OTHERS)
    parameters = {
        name: Parameter(partial(_limited, parameter, limits[name]), parameter.required)
        if name in limits
        else parameter
        for name, parameter in taken.parameters.items()
    }
    return Signature(parameters, takes_others)


def _check(node: dict[str, Any], key: str) -> None:
    target = node["_target_"]
    if not isinstance(target, str):
        raise ConfigError(f"{key}._target_", f"{target} is not the import path of a class")
    try:
        taken = signature_of(target)
    except NoSuchTargetError as error:
        hint = f"; {nearest(error.name, error.names)}" if error.names else ""
        raise ConfigError(f"{key}._target_", f"{target}: {error}{hint}") from None
    if taken is None:
        return
    arguments = {name: value for name, value in node.items() if name not in HYDRAS}
    positional = [*taken.parameters][: len(node.get("_args_") or ())]
    left_out = {*GIVEN.get(key, ()), *positional}
    optional = node.get("_partial_") is True
    parameters = {
        name: Parameter(parameter.declared, parameter.required and not optional)
        for name, parameter in taken.parameters.items()
        if name not in left_out
    }
    check(Signature(parameters, taken.takes_others), arguments, f"{key}.")


def _limited(parameter: Parameter, limit: Any) -> Any:
    return Annotated[parameter.declared(), limit]
