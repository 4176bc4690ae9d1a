"""Running a training from the command line: what a user can fix ends it with one line."""

import errno
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from . import interrupts, ranks
from .config.schema import framework_of, plain, validate
from .config.values import ConfigError
from .deciding_metric import DecidingMetric
from .errors import CommandError
from .git import GitError
from .paths import TRAIN_METRICS
from .results import read_metrics
from .serving import starter
from .trial import PrunedError, exchange
from .variables import VariableError, check, drop_unused

interrupts.shorten()
SET_BY_USER = dict(os.environ)  # a training sets variables too, and a sweep has many in a process


def launch(train: Callable[[dict[str, Any], Path], float], config: DictConfig) -> float:
    """Check the config and the environment, and train in Hydra's folder of this run.

    Raises:
        SystemExit: with one line, where the user can fix what is wrong.
    """
    run_dir = Path(HydraConfig.get().runtime.output_dir)
    try:
        with interrupts.ending(run_dir):
            _prepare(config)
            command = ranks.command(plain(config), run_dir, SET_BY_USER)
            if not command:
                set_variables(plain(config))
                return _train(train, plain(config), run_dir)
        ranks.run(command)
        return _result(plain(config), run_dir)
    except ConfigError as error:
        raise SystemExit(f"config: {error}") from None
    except (CommandError, GitError) as error:
        raise SystemExit(f"train: {error}") from None
    except VariableError as error:
        raise SystemExit(f"environment: {error}") from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise SystemExit("the disk is full: make room, then inv train again") from None


def _prepare(config: DictConfig) -> None:
    """Check the config and the environment, and have this end with the process that started it."""
    from .tracking.run import resolve_mode

    validate(config)
    for line in check(plain(config), SET_BY_USER):
        if not {"LOCAL_RANK", "SLURM_STEP_ID"} & {*SET_BY_USER}:  # one process says it
            print(f"environment: {line}", flush=True)
    drop_unused()
    resolve_mode(config.tracking.mode)
    starter.watch()
    if "LOCAL_RANK" in SET_BY_USER:  # else it may wait for the first process for ever
        starter.watch_parent()


def _train(
    train: Callable[[dict[str, Any], Path], float], config: dict[str, Any], run_dir: Path
) -> float:
    """Train; as a trial of a sweep, say there what came out."""
    trial = exchange() if os.environ.get("LOCAL_RANK", "0") == "0" else None
    try:
        value = train(config, run_dir)
    except PrunedError as pruned:
        print(pruned, flush=True)
        if trial:
            trial.end(None, pruned=True)
        return float("nan")
    if trial:
        trial.end(float(value))
    return value


def _result(config: dict[str, Any], run_dir: Path) -> float:
    """Return the metric that other processes wrote at the end of a training."""
    metrics = read_metrics(run_dir / TRAIN_METRICS.name)
    return metrics[DecidingMetric(**config["metric"]).in_training]


def set_variables(config: dict[str, Any]) -> None:
    """Set what the config's framework reads when it is imported, also in processes to come.

    One that says too much then is imported here.
    """
    framework = framework_of(config)
    os.environ.update(framework.variables(config))
    if framework.imported:
        import_module(framework.imported)
