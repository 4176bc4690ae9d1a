"""Composing conf/ into one config; what is wrong in it is named with its key and its file."""

import itertools
import shlex
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from .. import credentials
from ..dotted import select
from ..errors import one_line
from ..paths import CONF, ROOT
from ..serving import settings
from .places import package_of
from .references import written
from .schema import framework_of, keys_beside, validate
from .values import ConfigError, UnquotedError, nearest

_UNSET = object()
JOB_GROUPS = ("cluster", "resources")  # read when a job is submitted


def compose(overrides: list[str] | None = None, folder: Path = CONF) -> DictConfig:
    """Compose the folder `conf/` with Hydra overrides, resolved and checked.

    Raises:
        ConfigError: a key, value, group or override is wrong; names the file that holds it.
    """
    overrides = overrides or []
    try:
        with initialize_config_dir(str(folder.resolve()), version_base="1.3"):
            config = hydra.compose("config", overrides=overrides)
        validate(config)
    except ConfigError as error:
        wrong = written(config, error.key)
        where = credentials.masked(_where(error.key, overrides, folder, wrong))
        problem = error.problem
        if isinstance(error, UnquotedError) and where.startswith("on"):
            problem += f", as in {_quoted(error.key, overrides)}"
        raise ConfigError(error.key, f"{problem} ({where})") from None
    except MissingConfigException as error:
        raise ConfigError(*_missing_option(error, overrides, folder)) from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError(*_unreadable(error, folder)) from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(*_refused(error, overrides, folder)) from error
    return config


def expand(overrides: list[str]) -> list[list[str]]:
    """Return one list of overrides for each experiment that a grid (`lr=0.1,0.01`) stands for.

    Raises:
        ConfigError: an override cannot be parsed.
    """
    choices = []
    for text in overrides:
        override = parse(text)
        if override.is_sweep_override():
            key = override.get_key_element()
            try:
                values = list(override.sweep_string_iterator())
            except HydraException as error:
                raise ConfigError(text, f"is not a grid: {error}") from error
            choices.append([f"{key}={value}" for value in values])
        else:
            choices.append([text])
    return [list(combination) for combination in itertools.product(*choices)]


def experiments(overrides: list[str], grid: bool = False) -> list[DictConfig]:
    """Compose every experiment that `overrides` stands for.

    Args:
        grid: whether they may stand for more than one.

    Raises:
        ConfigError: an override is wrong.
    """
    expanded = expand(overrides)
    for text in overrides:
        if not grid and parse(text).is_sweep_override():
            queue = f"inv exp.queue -- {shlex.join(overrides)}"
            raise ConfigError(text, f"is a grid, and inv train trains one model: {queue}")
        _refuse_others(_key(text))
    return [compose(experiment) for experiment in expanded]


def _refuse_others(key: str) -> None:
    """Refuse a key that is no part of a training, and say where it is read."""
    group, _, name = key.partition(".")
    problem = "is not part of a training: "
    if group == settings.FILE.parent.name:
        variable = f"{settings.PREFIX}{name.upper() or '…'}"
        problem += f"set {variable}, or change {settings.FILE.as_posix()}"
        raise ConfigError(key, problem)
    if group in JOB_GROUPS:
        raise ConfigError(key, f"{problem}inv train -- cluster=slurm submits one as a job")


def _missing_option(
    error: MissingConfigException, overrides: list[str], folder: Path
) -> tuple[str, str]:
    missing = str(error.missing_cfg_file)
    group, _, name = missing.rpartition("/")
    options = sorted(error.options or [])
    problem = f"no {CONF}/{missing}.yaml; {nearest(name, options)}"
    if group and overrides and (full := _with_group(group, folder)):
        problem += f"; the value itself: {full}={name}"
    return group or missing, problem


def _unreadable(error: yaml.MarkedYAMLError, folder: Path) -> tuple[str, str]:
    mark = error.problem_mark
    if mark is None or error.problem is None:
        return f"{CONF}/", one_line(error)
    file = Path(mark.name).relative_to(folder.resolve().parent).as_posix()
    return f"{file}, line {mark.line + 1}", error.problem


def parse(text: str) -> Override:
    """Parse one override.

    Raises:
        ConfigError: it is none; says in one line what stands there instead.
    """
    name, equals, value = text.partition("=")
    if text in ("-m", "--multirun"):
        raise ConfigError(text, "is an option of Hydra: a grid goes to inv exp.queue -- KEY=A,B")
    if text.startswith("-"):
        hint = f"by hand: uv run {_train_command()} {text} …"
        if equals and not name.startswith("--config-"):
            hint = f"without dashes: {name.lstrip('-')}={value}"
        raise ConfigError(text, f"is not an override, KEY=VALUE; {hint}")
    if not equals and not text.startswith("~"):
        raise ConfigError(text, "is not an override, KEY=VALUE")
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        hint = f"""; if the value is a text, quote it: '{name}="{value}"'"""
        raise ConfigError(text, str(error).splitlines()[0] + hint) from error


def _train_command() -> str:
    """Return how dvc.yaml starts the training: `python -m workflow.train`."""
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
    return str(pipeline["stages"]["train"]["cmd"]).partition(" ${")[0]


def _quoted(key: str, overrides: list[str]) -> str:
    """Return the override of `key`, its values in quotes that a shell leaves to Hydra."""
    text = next(text for text in overrides if _key(text) == key)
    name, _, value = text.partition("=")
    if value.startswith("["):
        items = [item.strip().strip("\"'") for item in value.strip("[]").split(",")]
        value = ",".join(f'"{item}"' for item in items)
        return f"'{name}=[{value}]'"
    return f"""'{name}="{value}"'"""


def _refused(error: Exception, overrides: list[str], folder: Path) -> tuple[str, str]:
    """Put an error of Hydra's or OmegaConf's in one line: the key, and what is wrong with it."""
    cause = error.__cause__ if isinstance(error, ConfigCompositionException) else error
    key = getattr(cause, "full_key", None) or getattr(error, "full_key", None)
    if not key:
        return f"{CONF}/", one_line(error)
    where = _where(key, overrides, folder)
    siblings = keys_beside(key)
    last = key.rpartition(".")[2]
    lacking = framework_of(yaml.safe_load((folder / "config.yaml").read_text("utf-8"))).lacking
    if key in lacking:
        return key, f"{lacking[key]} ({where})"
    if last in siblings:
        return key, f"{str(getattr(cause, 'msg', cause)).splitlines()[0]} ({where})"
    problem = f"no such key; {nearest(last, siblings) if siblings else 'see conf/'}"
    if overrides and (full := _with_group(key, folder)):
        problem = f"no such key; did you mean {full}?"
    elif added := _added(key, overrides):
        try:
            compose(added, folder)
            problem = f"conf/ gives it no value; to add it: inv train -- {shlex.join(added)}"
        except ConfigError as error:
            return error.key, error.problem.replace(f"+{key}=", f"{key}=")
    return key, f"{problem} ({where})"


def _with_group(key: str, folder: Path) -> str | None:
    """Return `optimizer.lr` for `lr`, which one of the groups has."""
    try:
        config = compose([], folder)
    except ConfigError:
        return None
    groups = [str(name) for name in config if isinstance(config[name], DictConfig)]
    return next((f"{name}.{key}" for name in groups if key in config[name]), None)


def _added(key: str, overrides: list[str]) -> list[str] | None:
    """Return the overrides with the one of `key` adding it; None where none sets it."""
    for index, text in enumerate(overrides):
        if text.startswith(f"{key}="):
            return [*overrides[:index], f"+{text}", *overrides[index + 1 :]]
    return None


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _where(key: str, overrides: list[str], folder: Path, wrong: Any = None) -> str:
    """Name the place that sets `key`: the command line or the file in conf/."""
    for text in overrides:
        if _key(text) == key:
            return f"on the command line: {text}"
    values = {path: _value(path, key.split("."), folder) for path in sorted(folder.rglob("*.yaml"))}
    places = [path for path, value in values.items() if value is not _UNSET]
    # A file that is not part of this config may set the key as well, to another value.
    for path in sorted(places, key=lambda path: values[path] != wrong):
        return path.relative_to(folder.parent).as_posix()
    return "set in params.yaml" if not overrides else "on the command line"


def _value(path: Path, key: list[str], folder: Path) -> Any:
    package = package_of(path, folder)
    if key[: len(package)] != package:
        return _UNSET
    node = yaml.safe_load(path.read_text(encoding="utf-8"))
    return select(node, key[len(package) :], _UNSET)
