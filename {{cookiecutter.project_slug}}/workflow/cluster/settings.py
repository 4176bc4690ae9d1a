"""Where a job runs and how much it gets: conf/cluster/ and conf/resources/.

They are composed apart from a training's config, and are in no params.yaml, hash or model.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from hydra import initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..config.compose import JOB_GROUPS, parse
from ..config.job_keys import MEMORY, TIME, Cluster, Resources
from ..config.values import ConfigError, check, nearest
from ..errors import one_line
from ..paths import CONF

DEFAULTS = dict(zip(JOB_GROUPS, ("local", "default"), strict=True))  # files of conf/
OF_SLURM = ("partition", "account", "qos", "constraint", "image")
UNITS = {"K": 2**-10, "M": 1, "G": 2**10, "T": 2**20}  # in MiB


@dataclass(frozen=True)
class Settings:
    """What was asked for.

    Args:
        cluster: None: this machine.
        resources: of a job.
    """

    cluster: Cluster | None
    resources: Resources


def split(overrides: list[str]) -> tuple[list[str], list[str]]:
    """Return the overrides of `cluster` and `resources`, and those of a training."""
    of_job = [text for text in overrides if _key(text).partition(".")[0] in JOB_GROUPS]
    return of_job, [text for text in overrides if text not in of_job]


def compose(overrides: list[str], folder: Path = CONF) -> Settings:
    """Compose conf/cluster/ and conf/resources/.

    Args:
        overrides: as `split` returns them.

    Raises:
        ConfigError: a file or key is not there, or a value is wrong.
    """
    nodes = _nodes(overrides, folder)
    resources = _resources(nodes["resources"])
    if nodes["cluster"].get("scheduler") == "local":
        if "resources" in {_key(text).partition(".")[0] for text in overrides}:
            raise ConfigError("resources", "are for a cluster only: cluster=slurm")
        check_local(nodes["cluster"])
        return Settings(None, resources)
    check(Cluster, nodes["cluster"], "cluster.")
    cluster = Cluster(**nodes["cluster"])
    if seconds(resources.time) <= cluster.signal_seconds + 60:  # SLURM may signal a minute earlier
        problem = f"{resources.time} must be a minute longer than cluster.signal_seconds"
        raise ConfigError("resources.time", f"{problem} ({cluster.signal_seconds})")
    return Settings(cluster, resources)


def compose_resources(overrides: list[str], folder: Path = CONF) -> Resources:
    """Compose conf/resources/ alone, for a Job of Kubernetes.

    Args:
        overrides: as `split` returns them.

    Raises:
        ConfigError: a file or key is not there, a value is wrong, or a pod has no such thing.
    """
    if any(_key(text).startswith("cluster") for text in overrides):
        raise ConfigError("cluster", "is kubectl's context here; inv train -- cluster=slurm")
    resources = _resources(_nodes(overrides, folder)["resources"])
    if resources.nodes > 1:
        raise ConfigError("resources.nodes", "a Job of Kubernetes is one pod; cluster=slurm")
    for name in OF_SLURM:
        if getattr(resources, name) is not None:
            raise ConfigError(f"resources.{name}", "is for SLURM only: set it to null")
    return resources


def check_local(node: dict[str, Any]) -> None:
    """Raise ConfigError where a key of a cluster is set for this machine."""
    if others := [name for name in node if name != "scheduler"]:
        raise ConfigError(f"cluster.{others[0]}", "is for a cluster only: cluster=slurm")


def seconds(time: str) -> int:
    """Return the seconds of a time limit, `[days-]hours:minutes:seconds`."""
    days, _, rest = time.rpartition("-")
    hours, minutes, rest_seconds = map(int, rest.split(":"))
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + rest_seconds


def megabytes(memory: str) -> int:
    """Return the MiB of an amount of memory, such as 4G."""
    return int(int(memory[:-1]) * UNITS[memory[-1]])


def _key(override: str) -> str:
    return re.sub(r"^[+~]*", "", override).partition("=")[0]


def _nodes(overrides: list[str], folder: Path) -> dict[str, dict[str, Any]]:
    """Compose the files of both groups, with the overrides."""
    options = dict(DEFAULTS)
    values: list[tuple[str, str, Any]] = []
    for text in overrides:
        group, _, name = _key(text).partition(".")
        override = parse(text)
        if override.is_sweep_override():
            raise ConfigError(text, "is a grid, but a job has one value of each")
        value = override.value()
        if name:
            values.append((group, name, value))
        else:
            options[group] = str(value)
    nodes = {group: _file(group, option, folder) for group, option in options.items()}
    for group, name, value in values:
        key, *deeper = name.split(".")
        if deeper:
            nodes[group].setdefault(key, {})[".".join(deeper)] = value
        else:
            nodes[group][key] = value
    return nodes


def _resources(node: dict[str, Any]) -> Resources:
    """Check the keys of conf/resources/."""
    for name, rule in (("time", TIME), ("memory", MEMORY)):
        # Unquoted, YAML reads 4:00:00 as a number of base 60, and 4000 says no unit.
        if name in node and not rule.allows(value := node[name]):
            raise ConfigError(f"resources.{name}", f"{value} {rule.text}")
    check(Resources, node, "resources.")
    return Resources(**node)


def _file(group: str, option: str, folder: Path) -> dict[str, Any]:
    """Compose a file of a group."""
    known = [path.stem for path in (folder / group).glob("*.yaml")]
    if option not in known:
        raise ConfigError(group, f"no {CONF}/{group}/{option}.yaml; {nearest(option, known)}")
    try:
        with initialize_config_dir(str(folder.resolve()), version_base="1.3"):
            composed = hydra.compose(overrides=[f"+{group}={option}"])
        node = OmegaConf.to_container(composed[group], resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"{CONF}/{group}/{option}.yaml", one_line(error)) from None
    assert isinstance(node, dict)
    return {str(name): value for name, value in node.items()}
