"""Optuna's samplers and pruners, made from nodes with `_target_`, and what Optuna logs."""

import warnings
from typing import Any

import optuna
from hydra.errors import HydraException
from hydra.utils import instantiate
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, BruteForceSampler, GridSampler, QMCSampler, TPESampler

from ..config.values import ConfigError
from ..errors import one_line

SEED = "seed"
PROBES = 3  # trials, after which most samplers have imported what they need


def quiet() -> None:
    """Silence what Optuna logs and nobody can act on: the sweep itself reports what comes out."""
    optuna.logging.disable_default_handler()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module="optuna")
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def sampler(node: dict[str, Any] | None, seed: int) -> BaseSampler:
    """Return a sampler, for one trial.

    Args:
        node: None for Tree-structured Parzen estimators, Optuna's own default.
        seed: of this trial, unless the node has one of its own; so a trial that is taken over
            continues as it was, and no two are alike.

    Raises:
        ConfigError: it is not a sampler, or cannot be made.
    """
    if node is None:
        return TPESampler(seed=seed, constant_liar=True)
    own = dict(node)
    unseeded = _make("sampler", own, BaseSampler)
    if isinstance(unseeded, GridSampler | BruteForceSampler):
        raise ConfigError("sampler", "a grid needs none: leave out `sampler` and `trials`")
    # A sequence that fills the space has one seed, and the study says how far it is.
    if not isinstance(unseeded, QMCSampler):
        own[SEED] = seed + 1_000_003 * int(own.get(SEED) or 0)
        try:
            return _make("sampler", own, BaseSampler)
        except ConfigError:  # a sampler without a seed
            return unseeded
    return unseeded


def pruner(node: dict[str, Any] | None) -> BasePruner:
    """Return a pruner; without a node, one that prunes nothing.

    Raises:
        ConfigError: it is not a pruner, or cannot be made.
    """
    return NopPruner() if node is None else _make("pruner", node, BasePruner)


def require(
    sampler_node: dict[str, Any] | None,
    pruner_node: dict[str, Any] | None,
    space: dict[str, BaseDistribution],
) -> None:
    """Raise ConfigError if sampler or pruner cannot be made, or the sampler gives no values."""
    study = optuna.create_study(sampler=sampler(sampler_node, 0), pruner=pruner(pruner_node))
    try:
        for value in range(PROBES):
            study.tell(study.ask(space), float(value))
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError("sampler", one_line(error)) from None


def _make(key: str, node: dict[str, Any], kind: type) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            instance = instantiate(node)
    except (HydraException, ImportError, TypeError, ValueError) as error:
        cause = error.__cause__ or error
        raise ConfigError(key, f"{node.get('_target_')}: {one_line(cause)}") from None
    if not isinstance(instance, kind):
        raise ConfigError(key, f"{node.get('_target_')} is not a {key} of Optuna")
    return instance
