"""What a sweep is: its space, how many trials, and what all trials share. Kept in plan.json."""

import json
import re
import shutil
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml
from optuna.distributions import distribution_to_json, json_to_distribution

from .. import files, stage_code
from ..config.compose import compose
from ..config.schema import plain
from ..config.search import FOLDER as SEARCHES
from ..config.search import Search, load, names
from ..config.values import ConfigError
from ..dotted import flatten, select
from ..errors import CommandError, listed
from ..paths import CONF, PREPARED_DATA, ROOT, home
from ..tracking import provenance
from . import optimizing
from .space import Space, as_overrides, combinations, probes, split

SWEEPS = Path("sweeps")
FILE = "plan.json"
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,79}")
SHARED = ("framework", "backend", "metric")  # keys that all trials share, beside those of the data
DATA_STAGES = ("fetch", "prepare")
NOT_DECIDING = ("tracking", "export")  # keys that change no trial's value


@dataclass(frozen=True)
class Options:
    """The options of the command line.

    Args:
        overrides: Hydra's, with the space among them.
        search: name of a file in conf/search/.
        name: of the sweep; "" for one that follows from the rest.
        trials: how many; None: as many as the file says, or every point of a grid.
        seeds: trainings a trial; None: as many as the file says.
        storage: of Optuna, by URL; "" for a file of the sweep.
    """

    overrides: tuple[str, ...] = ()
    search: str = ""
    name: str = ""
    trials: int | None = None
    seeds: int | None = None
    storage: str = ""


@dataclass(frozen=True)
class Plan:
    """A sweep, as far as it is decided before the first trial.

    Args:
        id: says that a study in a storage is this sweep's.
        space: by key of the config, a distribution of Optuna's as JSON.
        fixed: the overrides that all trials share.
        metric: that decides, such as `val/loss`; `mode` is min or max.
        grid: whether the trials are all points of the space.
        seeds: of the trainings of a trial.
        sampler, pruner: nodes with `_target_`; None for the default.
        storage: of Optuna, by URL; None for a file of the sweep.
        module: that trains, as `python -m` takes it.
        device: that trials compute on: `trainer.accelerator`.
        fingerprint: of what makes the values of two trials comparable.
        inputs: SHA-256 of each file of code, and DVC hash of the data, that decide a value.
    """

    id: str
    name: str
    space: dict[str, str]
    fixed: tuple[str, ...]
    metric: str
    mode: str
    grid: bool
    trials: int
    seeds: tuple[int, ...]
    sampler: dict[str, Any] | None
    pruner: dict[str, Any] | None
    storage: str | None
    module: str
    device: str
    fingerprint: str
    inputs: dict[str, str]

    @cached_property
    def distributions(self) -> Space:
        """The space as Optuna has it."""
        return {key: json_to_distribution(text) for key, text in self.space.items()}

    @property
    def folder(self) -> Path:
        """Where the sweep is."""
        return folder(self.name)

    @property
    def has_begun(self) -> bool:
        """Whether plan.json is there: then a trial may have run."""
        return (self.folder / FILE).exists()

    @property
    def conf(self) -> Path:
        """The copy of conf/ that the trials are composed from: editing conf/ changes none."""
        return self.folder / CONF.name

    def overrides(self, params: dict[str, Any]) -> list[str]:
        """Return the overrides of the trial with these values."""
        return [*self.fixed, *as_overrides(params)]

    def write(self) -> None:
        """Write plan.json."""
        files.replace(self.folder / FILE, json.dumps(asdict(self), indent=2) + "\n")

    def require_inputs(self) -> None:
        """Raise CommandError if code or data are not those that the sweep began with."""
        code = [Path(name) for name in self.inputs if name.endswith(".py")]
        now = _hashes(code) | _data()
        changed = [name for name in self.inputs | now if self.inputs.get(name) != now.get(name)]
        if changed:
            raise CommandError(
                f"{listed(changed)}: changed since sweep {self.name} began, so its trials could not"
                f" be compared: put it back, or start another sweep: --name NEW"
            )


def folder(name: str) -> Path:
    """Return the folder of a sweep, in the project itself."""
    return (home() / SWEEPS / name).resolve()


def read(name: str) -> Plan | None:
    """Return the plan of a sweep; None where none has begun under this name.

    Raises:
        CommandError: the file cannot be read.
    """
    file = folder(name) / FILE
    if not NAME.fullmatch(name) or not file.exists():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Plan(
            **{**content, "fixed": tuple(content["fixed"]), "seeds": tuple(content["seeds"])}
        )
    except (ValueError, KeyError, TypeError):
        problem = f"{SWEEPS}/{name}/{FILE} cannot be read: restore it, or start another sweep"
        raise CommandError(f"{problem}: --name NEW") from None


def make(options: Options) -> Plan:
    """Return the plan for these options; that of a sweep that has begun, where it fits.

    Nothing is written, and nothing has to be there but conf/ and the code.

    Raises:
        ConfigError: the space, or what its trials share, is wrong.
        CommandError: another sweep has this name.
    """
    _require_numbers(options)
    if options.name and not (options.overrides or options.search) and (begun := read(options.name)):
        return _continued(begun, begun, options)
    search = load(options.search) if options.search else Search(space={})
    space, fixed = split([*_from_file(search, options), *options.overrides])
    if not space:
        spaces = names()
        file = f", or --search {spaces[0]} ({SEARCHES.as_posix()}/)" if spaces else ""
        raise CommandError(f"nothing to search: inv sweep -- KEY=A,B{file}")
    for text in (*fixed, *(f"{key}=" for key in space)):
        _refuse(text)
    grid, trials = _trials(space, search, options)
    configs = _configs(space, fixed)
    metric = configs[0]["metric"]
    seeds = [configs[0]["seed"] + index for index in range(options.seeds or search.seeds)]
    new = Plan(
        id=uuid4().hex,
        name="",
        space={key: distribution_to_json(value) for key, value in space.items()},
        fixed=tuple(fixed),
        metric=f"val/{metric['name']}",
        mode=metric["mode"],
        grid=grid,
        trials=trials,
        seeds=tuple(seeds),
        sampler=search.sampler,  # type: ignore[arg-type]
        pruner=search.pruner,  # type: ignore[arg-type]
        storage=options.storage or search.storage,
        module=_module(),
        device=str(configs[0]["trainer"].get("accelerator", "cpu")),
        fingerprint=_fingerprint(space, fixed, seeds, configs),
        inputs={},
    )
    optimizing.require(new.sampler, new.pruner, space)
    new = replace(new, name=options.name or options.search or _derived_name(new))
    if not NAME.fullmatch(new.name):
        problem = "letters, digits, dots and dashes, with a letter or digit first"
        raise CommandError(f"--name {new.name}: must be {problem}")
    begun = read(new.name)
    return _continued(begun, new, options) if begun else new


def begin(plan: Plan) -> Plan:
    """Write a plan, with the copy of conf/ and the inputs, unless it is there; under a lock."""
    if not plan.has_begun:
        shutil.rmtree(plan.conf, ignore_errors=True)  # from a sweep that was killed here
        shutil.copytree(ROOT / CONF, plan.conf)
        plan = replace(plan, inputs=_hashes(_code()) | _data())
    plan.require_inputs()
    plan.write()
    return plan


def _code() -> list[Path]:
    """Return the files of the project that decide what a training gives, from its folder."""
    files = stage_code.files("train")
    return [path.relative_to(ROOT) for path in files if path.is_relative_to(ROOT)]


def _hashes(paths: list[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file of the project; "" of one that is gone."""
    return {path.as_posix(): provenance.file_sha256(ROOT / path) or "" for path in paths}


def _data() -> dict[str, str]:
    """Return the DVC hash of the prepared data."""
    path = PREPARED_DATA.as_posix()
    return {name: md5 for name, md5 in provenance.data_hashes().items() if name == path}


def _module() -> str:
    return next(stage for stage in stage_code.read() if stage.name == "train").modules[0]


def _require_numbers(options: Options) -> None:
    for option, value in (("--trials", options.trials), ("--seeds", options.seeds)):
        if value is not None and value < 1:
            raise CommandError(f"{option} {value}: must be a positive number")


def _from_file(search: Search, options: Options) -> list[str]:
    """Return the space of a file as overrides, without the keys that were typed."""
    typed = {text.partition("=")[0] for text in options.overrides}
    return [f"{key}={_text(value)}" for key, value in search.space.items() if key not in typed]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _refuse(text: str) -> None:
    """Refuse an override that a trial gets from the sweep."""
    key = text.lstrip("+~").partition("=")[0]
    if key == "seed":
        problem = "decides how stage prepare splits the data, which all trials share: --seeds K"
        raise ConfigError(key, f"{problem} trains each with K seeds; or change conf/config.yaml")
    if key.startswith("hydra"):
        raise ConfigError(key, "is set by the sweep: a folder for each trial")


def _trials(space: Space, search: Search, options: Options) -> tuple[bool, int]:
    """Return whether every point is a trial, and how many trials there are."""
    points = combinations(space)
    if trials := options.trials or search.trials:
        return False, trials
    if points is None:
        key = next(key for key in space if combinations({key: space[key]}) is None)
        raise ConfigError(key, "an interval is not a grid: say how many trials: --trials N")
    return True, len(points)


def _configs(space: Space, fixed: list[str]) -> list[dict[str, Any]]:
    """Compose the config at points of a space; the first is a trial's, too.

    Raises:
        ConfigError: conf/ does not take a value, or one changes what all trials share.
    """
    default = plain(compose([], ROOT / CONF))
    configs: list[dict[str, Any]] = []
    for point in probes(space):
        config = plain(compose([*fixed, *as_overrides(point)], ROOT / CONF))
        first = configs[0] if configs else config
        for keys, other in ((_data_keys(), default), (SHARED, first)):
            for key in keys:
                _require_same(key, other, config)
        configs.append(config)
    return configs


def _require_same(key: str, shared: dict[str, Any], config: dict[str, Any]) -> None:
    before, now = (flatten({key: select(node, key.split("."))}) for node in (shared, config))
    for name in before | now:
        if before.get(name) != now.get(name):
            why = "all trials share it" if key in SHARED else "all trials share the prepared data"
            raise ConfigError(name, f"cannot differ in a sweep: {why}; change conf/ first")


def _data_keys() -> list[str]:
    """Return the keys of the config that decide what stage prepare writes."""
    stages = yaml.safe_load((ROOT / stage_code.PIPELINE).read_text(encoding="utf-8"))["stages"]
    keys = [key for name in DATA_STAGES for key in stages.get(name, {}).get("params", ())]
    return [key for key in keys if isinstance(key, str)]


def _fingerprint(
    space: Space, fixed: list[str], seeds: list[int], configs: list[dict[str, Any]]
) -> str:
    texts = {key: distribution_to_json(value) for key, value in sorted(space.items())}
    deciding = sorted(  # whatever the order in which the space was typed
        json.dumps({key: config[key] for key in sorted(config) if key not in NOT_DECIDING})
        for config in configs
    )
    content = json.dumps([texts, sorted(fixed), seeds, deciding], sort_keys=True)
    return provenance.sha256(content.encode())


def _derived_name(plan: Plan) -> str:
    last = [key.rpartition(".")[2] for key in sorted(plan.space)]
    keys = [re.sub(r"\W+", "_", name).strip("_") for name in last]
    return f"{'-'.join(keys)[:40]}-{plan.fingerprint[:6]}"


def _continued(begun: Plan, new: Plan, options: Options) -> Plan:
    """Return the plan of a sweep that has begun, with what may change.

    Raises:
        CommandError: it is another sweep.
    """
    if begun.fingerprint != new.fingerprint:
        raise CommandError(
            f"sweep {begun.name} began with {_difference(begun, new)}: to continue it: inv sweep"
            f" --name {begun.name}; for another one: --name NEW"
        )
    if options.storage and options.storage != begun.storage:
        raise CommandError(f"sweep {begun.name} has its trials in another storage: omit --storage")
    if options.seeds and options.seeds != len(begun.seeds):
        raise CommandError(
            f"--seeds {options.seeds}: sweep {begun.name} has {len(begun.seeds)}: --name NEW"
        )
    trials = begun.trials if new.grid else max(begun.trials, new.trials)
    if options.trials and begun.grid:
        raise CommandError(f"--trials: sweep {begun.name} is a grid: it has {begun.trials} points")
    if options.trials and options.trials < begun.trials:
        problem = f"sweep {begun.name} has {begun.trials} trials"
        raise CommandError(f"--trials {options.trials}: {problem}: more can be added, none removed")
    if options.trials:
        trials = options.trials
    return replace(begun, trials=trials, sampler=new.sampler, pruner=new.pruner)


def _difference(begun: Plan, new: Plan) -> str:
    """Say in what two plans differ, as a message has it."""
    for key in begun.space | new.space:
        if begun.space.get(key) != new.space.get(key):
            return f"another space ({key})"
    if set(begun.fixed) != set(new.fixed):
        return f"other overrides ({' '.join(begun.fixed) or 'none'})"
    if begun.seeds != new.seeds:
        return f"another number of seeds ({len(begun.seeds)})"
    return "another conf/"
