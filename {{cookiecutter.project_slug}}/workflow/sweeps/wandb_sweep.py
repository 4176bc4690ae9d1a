"""The same search as a sweep of W&B's own: a file for `wandb sweep`, whose agents train.

W&B's server then chooses the values and keeps the trials; each agent runs the training.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from .. import files
from ..config.compose import compose
from ..config.schema import plain
from ..config.values import ConfigError
from ..dotted import select
from ..errors import CommandError
from .plan import SWEEPS, Plan

FILE = "wandb.yaml"
KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")  # what W&B takes as the name of a parameter
GOALS = {"min": "minimize", "max": "maximize"}


def write(plan: Plan) -> Path:
    """Write sweeps/NAME/wandb.yaml, and return where it is, from the project's folder.

    Raises:
        ConfigError: W&B does not take a key of the space.
        CommandError: a trial is to have several seeds.
    """
    path = plan.folder / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    content = document(plan, plain(compose([*plan.fixed])))
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    files.replace(path, f"# Written by `inv sweep --wandb`, for `wandb sweep`.\n{text}")
    return SWEEPS / plan.name / FILE


def document(plan: Plan, config: dict[str, Any]) -> dict[str, Any]:
    """Return a plan as a sweep of W&B's.

    Args:
        config: as it is composed without the values that a sweep chooses.

    Raises:
        ConfigError, CommandError: as `write`.
    """
    if len(plan.seeds) > 1:
        raise CommandError("--seeds: an agent of W&B's trains once for each trial")
    for key in plan.space:
        if not KEY.fullmatch(key):
            raise ConfigError(key, "W&B takes no parameter of this name")
    tracking = config["tracking"]
    account = {"entity": tracking["entity"]} if tracking["entity"] else {}
    limit = {} if plan.grid else {"run_cap": plan.trials}
    return {
        "name": plan.name,
        "project": tracking["project"],
        **account,
        "program": plan.module,
        "command": ["${env}", "python", "-m", plan.module, *plan.fixed, "${args_no_hyphens}"],
        "method": method(plan, config),
        "metric": {"name": plan.metric, "goal": GOALS[plan.mode]},
        **limit,
        "parameters": {
            key: parameter(distribution) for key, distribution in plan.distributions.items()
        },
    }


def method(plan: Plan, config: dict[str, Any]) -> str:
    """Return how W&B is to choose values: bayes, unless it can't read them in a run's config.

    The config does not say which file of a group was chosen, such as `model=mlp`.
    """
    if plan.grid:
        return "grid"
    has_group = any(isinstance(select(config, key.split(".")), dict) for key in plan.space)
    sampler = (plan.sampler or {}).get("_target_", "")
    return "random" if has_group or sampler.endswith(".RandomSampler") else "bayes"


def parameter(distribution: BaseDistribution) -> dict[str, Any]:
    """Return a distribution as W&B writes it."""
    match distribution:
        case FloatDistribution(low=low, high=high, log=log):
            kind = "log_uniform_values" if log else "uniform"
            return {"distribution": kind, "min": low, "max": high}
        case IntDistribution(low=low, high=high, log=True):
            return {"distribution": "q_log_uniform_values", "min": low, "max": high, "q": 1}
        case IntDistribution(low=low, high=high, step=1):
            return {"distribution": "int_uniform", "min": low, "max": high}
        case IntDistribution(low=low, high=high, step=step):
            return {"values": [*range(low, high + 1, step)]}
        case CategoricalDistribution(choices=choices):
            return {"values": [number(choice) for choice in choices]}
    raise TypeError(distribution)


def number(text: Any) -> Any:
    """Return a number for a text that is written like one: W&B's charts have an axis for it."""
    for kind in (int, float):
        try:
            if str(kind(text)) == text:
                return kind(text)
        except (TypeError, ValueError):
            continue
    return text
