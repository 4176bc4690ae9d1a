"""Stage `config`: compose conf/ into params.yaml, the file that the other stages read."""

import itertools
import os
import sys
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .paths import CONF, PARAMS
from .schema import ConfigError, keys_beside, nearest, validate
from .start import load_start, pin_start

_UNSET = object()


def compose(overrides: list[str] | None = None, folder: Path = CONF) -> DictConfig:
    """Compose the folder `conf/` with Hydra overrides, resolved and checked.

    Raises:
        ConfigError: a key, value, group or override is wrong; names the file that holds it.
    """
    overrides = overrides or []
    try:
        with initialize_config_dir(str(folder.resolve()), version_base="1.3"):
            config = hydra_compose("config", overrides=overrides)
        validate(config)
    except ConfigError as error:
        wrong = OmegaConf.select(config, error.key)
        where = _where(error.key, overrides, folder, wrong)
        raise ConfigError(error.key, f"{error.problem} ({where})") from None
    except MissingConfigException as error:
        raise ConfigError(*_missing_option(error)) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(*_refused(error, overrides, folder)) from error
    return config


def expand(overrides: list[str]) -> list[list[str]]:
    """Return one list of overrides for each experiment that a grid (`lr=0.1,0.01`) stands for.

    Raises:
        ConfigError: an override cannot be parsed.
    """
    choices = []
    for text in overrides:
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            key, _, value = text.partition("=")
            hint = f"""; if the value is a text, quote it: '{key}="{value}"'"""
            raise ConfigError(text, str(error).splitlines()[0] + hint) from error
        if override.is_sweep_override():
            key = override.get_key_element()
            choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            choices.append([text])
    return [list(combination) for combination in itertools.product(*choices)]


def check(overrides: list[str]) -> int:
    """Compose every experiment that `overrides` stands for and return how many there are.

    Raises:
        ConfigError: an override is wrong, or names a run to begin with that cannot be had.
    """
    experiments = expand(overrides)
    for experiment in experiments:
        config = compose(experiment)
        load_start(config)
        pin_start(config)
    return len(experiments)


def write_params() -> str:
    """Write params.yaml and say what was done.

    `dvc exp run` has written it already, with the overrides of the experiment: that one is kept.
    """
    if "DVC_EXP_NAME" in os.environ and PARAMS.exists():
        config = OmegaConf.load(PARAMS)
        assert isinstance(config, DictConfig)
        validate(config)
        if pin_start(config):
            PARAMS.write_text(OmegaConf.to_yaml(config), encoding="utf-8")
        return f"{PARAMS} kept as the experiment composed it"
    config = compose()
    pin_start(config)
    PARAMS.write_text(OmegaConf.to_yaml(config), encoding="utf-8")
    return f"{PARAMS} composed from {CONF}/"


def main(arguments: list[str]) -> None:
    try:
        if arguments[:1] == ["--check"]:
            check(arguments[1:])
        else:
            print(write_params())
    except ConfigError as error:
        raise SystemExit(f"config: {error}") from None


def _missing_option(error: MissingConfigException) -> tuple[str, str]:
    wanted = str(error.missing_cfg_file)
    group, _, name = wanted.rpartition("/")
    options = sorted(error.options or [])
    return group or wanted, f"no {CONF}/{wanted}.yaml; {nearest(name, options)}"


def _refused(error: Exception, overrides: list[str], folder: Path) -> tuple[str, str]:
    """Put an error of Hydra's or OmegaConf's in one line: the key, and what is wrong with it."""
    cause = error.__cause__ if isinstance(error, ConfigCompositionException) else error
    key = getattr(cause, "full_key", None) or getattr(error, "full_key", None)
    if key:
        siblings = keys_beside(key)
        hint = nearest(key.rpartition(".")[2], siblings) if siblings else "see conf/"
        if siblings and key.rpartition(".")[2] in siblings:
            hint = str(getattr(cause, "msg", cause)).splitlines()[0]
            return key, f"{hint} ({_where(key, overrides, folder)})"
        return key, f"no such key; {hint} ({_where(key, overrides, folder)})"
    return "config", " ".join(str(error).split())


def _where(key: str, overrides: list[str], folder: Path, wrong: Any = None) -> str:
    """Name the place that sets `key`: the command line or the file in conf/."""
    for text in overrides:
        if text.lstrip("+~").partition("=")[0] == key:
            return f"on the command line: {text}"
    values = {path: _value(path, key.split("."), folder) for path in sorted(folder.rglob("*.yaml"))}
    places = [path for path, value in values.items() if value is not _UNSET]
    # A file that is not part of this config may set the key as well, to another value.
    for path in sorted(places, key=lambda path: values[path] != wrong):
        return path.relative_to(folder.parent).as_posix()
    return "set in params.yaml" if not overrides else "on the command line"


def _value(path: Path, key: list[str], folder: Path) -> Any:
    text = path.read_text(encoding="utf-8")
    package = list(path.relative_to(folder).parent.parts)
    first_line = text.partition("\n")[0]
    if first_line.startswith("# @package"):
        name = first_line.split()[-1]
        package = [] if name == "_global_" else name.split(".")
    if key[: len(package)] != package:
        return _UNSET
    node = yaml.safe_load(text)
    for part in key[len(package) :]:
        if not isinstance(node, dict) or part not in node:
            return _UNSET
        node = node[part]
    return node


if __name__ == "__main__":
    main(sys.argv[1:])
