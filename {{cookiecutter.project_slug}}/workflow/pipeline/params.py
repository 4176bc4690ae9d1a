"""Stage `config`: compose conf/ into params.yaml, the file that the other stages read.

    python -m workflow.pipeline.params

With `--check KEY=VALUE …` it checks the overrides of a training and writes nothing; with
`--check-grid KEY=A,B …`, those of several experiments.
"""

import os
import sys
from importlib import import_module
from typing import Any

from omegaconf import DictConfig, OmegaConf

from .. import files
from ..config.schema import plain, validate
from ..config.values import ConfigError
from ..paths import CONF, PARAMS
from ..training.start import named_key, pin_start

# By framework, the module whose `load_start` reads the checkpoint that a training starts from.
STARTS = {"keras": "workflow.keras.start", "pytorch": "workflow.lightning.start"}


def check(overrides: list[str], grid: bool = False) -> int:
    """Compose every experiment that `overrides` stands for and return how many there are.

    Args:
        grid: whether they may stand for more than one.

    Raises:
        ConfigError: an override is wrong, or names a run to start from that is not available.
    """
    from ..config.compose import experiments

    configs = experiments(overrides, grid)
    for config in configs:
        _require_start(plain(config))
        pin_start(config)
    return len(configs)


def _require_start(config: dict[str, Any]) -> None:
    if named_key(config):  # the import takes a while
        import_module(STARTS[config["framework"]]).load_start(config)


def write_params() -> str:
    """Write params.yaml and say what was done.

    `dvc exp run` has written it already, with the overrides of the experiment: that file is kept.
    """
    if "DVC_EXP_NAME" in os.environ and PARAMS.exists():
        config = OmegaConf.load(PARAMS)
        assert isinstance(config, DictConfig)
        validate(config)
        if pin_start(config):
            files.replace(PARAMS, OmegaConf.to_yaml(config))
        return f"{PARAMS} kept as the experiment composed it"
    from ..config.compose import compose  # with Hydra, which takes a while and only this needs

    config = compose()
    pin_start(config)
    files.replace(PARAMS, OmegaConf.to_yaml(config))
    return f"{PARAMS} composed from {CONF}/"


def main(arguments: list[str]) -> None:
    try:
        if arguments[:1] in (["--check"], ["--check-grid"]):
            check(arguments[1:], grid=arguments[0] == "--check-grid")
        else:
            print(write_params())
    except ConfigError as error:
        raise SystemExit(f"config: {error}") from None


if __name__ == "__main__":
    main(sys.argv[1:])
