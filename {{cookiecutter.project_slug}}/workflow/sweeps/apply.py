"""The winner of a sweep as an experiment of conf/.

    python -m workflow.sweeps.apply [--name NAME]    the latest, if none is named

What differs from the defaults is written to conf/experiment/NAME.yaml: `experiment=NAME` trains the
same model then, and gives the same value.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from optuna.trial import FrozenTrial

from .. import files
from ..config.compose import compose
from ..config.schema import plain
from ..config.values import ConfigError
from ..errors import CommandError
from ..paths import CONF, ROOT
from ..pipeline import apply as experiment
from . import trials
from .choice import choose, parser
from .study import Sweep

NAME = re.compile(r"[A-Za-z_][\w-]*")


def plan(sweep: Sweep, trial: FrozenTrial, name: str, conf: Path) -> dict[Path, str]:
    """Return the files with which `experiment=NAME` composes to a trial's config.

    Args:
        conf: a copy of conf/, which is changed.

    Raises:
        CommandError: conf/ lacks a key that the trial had, or cannot hold its values.
        ConfigError: conf/ no longer allows a value.
    """
    file = conf / experiment.CONFIG
    text = experiment.mention(file.read_text(encoding="utf-8"), None)
    file.write_text(text, encoding="utf-8")
    (conf / experiment.GROUP / f"{name}.yaml").unlink(missing_ok=True)  # from an earlier call
    trained = plain(compose(sweep.plan.overrides(trial.params), sweep.plan.conf))
    value = f"{sweep.plan.metric} {trials.row(trial).value_text}"
    source = f"trial {trial.number} of sweep {sweep.plan.name} ({value})"
    comment = f"# Written by `inv sweep.apply` from {source}"
    changes = experiment.overlay(name, conf, trained, comment)
    composed = plain(compose([f"{experiment.GROUP}={name}"], conf))
    experiment.require_composed(name, composed, trained)
    return changes


def apply(sweep: Sweep, name: str, conf: Path) -> list[Path]:
    """Write the winner to conf/experiment/NAME.yaml; return the files, none if they are there.

    Raises:
        CommandError: there is no winner, or a file has other content.
        ConfigError: as `plan`.
    """
    if not NAME.fullmatch(name):
        raise CommandError(f"{name!r} can't be an experiment's name: --as NAME, of a-z, 0-9, _, -")
    trial = trials.best(sweep)
    with TemporaryDirectory() as folder:
        copy = Path(folder) / CONF
        shutil.copytree(conf, copy)
        changes = plan(sweep, trial, name, copy)
    new = {path: text for path, text in changes.items() if text != content(conf / path)}
    for path in new:
        if (conf / path).exists():
            raise CommandError(
                f"{(CONF / path).as_posix()} has other content: remove it, or choose another"
                f" name: inv sweep.apply --name {sweep.plan.name} --as NAME"
            )
    for path, text in new.items():
        (conf / path).parent.mkdir(exist_ok=True)
        files.replace(conf / path, text)
    return [CONF / path for path in new]


def content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def main(arguments: Sequence[str] | None = None) -> None:
    command = parser("apply", __doc__)
    command.add_argument("--as", dest="experiment", help="the experiment's name; default: NAME")
    options = command.parse_args(arguments)
    try:
        sweep = choose(options.name)
        name = options.experiment or sweep.plan.name
        paths = apply(sweep, name, ROOT / CONF)
    except (CommandError, ConfigError) as error:
        raise SystemExit(f"sweep.apply: {error}") from None
    file = (CONF / experiment.GROUP / f"{name}.yaml").as_posix()
    print("\n".join(f"{path.as_posix()} written" for path in paths) or f"{file} is there already")
    print(f"next: inv train -- experiment={name}")


if __name__ == "__main__":
    main()
