"""A search space: a file of conf/search/, which `inv sweep --search` reads and no training does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml

from ..errors import one_line
from ..paths import CONF, ROOT
from . import targets
from .values import ConfigError, Made, Rule, at_least, check, makes, nearest

FOLDER = CONF / "search"


def _is_space(space: dict[str, Any]) -> bool:
    return bool(space) and all(not isinstance(value, list | dict) for value in space.values())


SPACE = Rule(
    _is_space, "must have keys of conf/, each with text such as 0.1,0.01 or interval(0, 0.5)", True
)


@dataclass(kw_only=True)
class Search:
    """The keys of a file in conf/search/."""

    space: Annotated[dict[str, Any], SPACE]
    trials: Annotated[int | None, at_least(1)] = None  # needed unless the space is a grid
    seeds: Annotated[int, at_least(1)] = 1  # trainings a trial
    storage: str | None = None  # of Optuna, by URL; null: a file in sweeps/NAME/
    sampler: Made | None = None
    pruner: Made | None = None


def names(folder: Path = ROOT / FOLDER) -> list[str]:
    """Return the names of the search spaces that there are."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load(name: str, folder: Path = ROOT / FOLDER) -> Search:
    """Read a search space, its keys and types checked.

    Raises:
        ConfigError: there is no such file, or something in it is wrong.
    """
    file = folder / f"{name}.yaml"
    shown = f"{FOLDER.as_posix()}/{name}.yaml"
    if not file.exists():
        known = names(folder)
        hint = nearest(name, known) if known else "there is none so far"
        raise ConfigError("--search", f"no {shown}; {hint}")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ConfigError("space", "is missing")
        check(Search, content)
        for key in ("sampler", "pruner"):
            if content.get(key) is not None and not makes(content[key]):
                raise ConfigError(key, "needs _target_, such as optuna.samplers.TPESampler")
            targets.check_nodes(content.get(key), key)
        return Search(**content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(shown, one_line(error)) from None
    except ConfigError as error:
        raise ConfigError(f"{shown}: {error.key}", error.problem) from None
