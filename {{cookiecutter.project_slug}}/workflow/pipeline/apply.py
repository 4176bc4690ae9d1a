"""Applying an experiment: its files are checked out, and its values written into conf/.

    python -m workflow.pipeline.apply NAME

DVC restores `params.yaml` alone, which the next change of conf/ overwrites. So what differs from
the defaults is written to conf/experiment/NAME.yaml, which conf/config.yaml then names.
"""

import argparse
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import hydra
import yaml
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from .. import conflicts, files, git
from ..config.places import package_of
from ..config.schema import plain
from ..config.values import nearest
from ..dvc_store import command
from ..errors import CommandError
from ..git import GitError
from ..paths import BUILT, CONF, PARAMS

CONFIG = Path("config.yaml")
GROUP = "experiment"
MENTION = re.compile(rf"^(\s*-\s+{GROUP}:[ \t]*)([^#\n]*[^#\s])", re.MULTILINE)
WRITTEN = "# Written by `inv exp.apply"
SCHEMA = "# yaml-language-server: $schema=../schema.json#/definitions/experiment"
DVC_APPLIED = "refs/exps/exec/EXEC_APPLY"  # the experiment that was applied last


class Experiment(NamedTuple):
    commit: str
    name: str


def apply(name: str) -> None:
    """Check out the files of an experiment, and write its values into conf/, where they last.

    Raises:
        CommandError: there is no such experiment, conf/ cannot hold its values, a merge is not
            finished, or a change of which there is no other copy would be lost.
    """
    conflicts.require_merged()
    experiment = find(name)
    if paths := at_risk(experiment.commit):
        raise CommandError(
            f"{', '.join(paths[:3])}{' …' if paths[3:] else ''}: not committed, and would be lost:"
            " git commit, or git stash"
        )
    if paths := data_at_risk():
        raise CommandError(
            f"{', '.join(paths[:3])}{' …' if paths[3:] else ''}: changed since DVC recorded it, and"
            " would be lost: dvc commit keeps it, dvc checkout discards it"
        )
    earlier = written_here()
    with TemporaryDirectory() as folder:
        conf, params = extract(experiment.commit, Path(folder))
        changes = plan(experiment.name, conf, params)
    run("exp", "apply", "--quiet", experiment.commit)
    # The file that names the others comes last: conf/ composes even after a kill in between.
    for path in sorted(changes, key=lambda path: path == CONFIG):
        (CONF / path).parent.mkdir(parents=True, exist_ok=True)
        files.replace(CONF / path, changes[path])
    for path in earlier - {CONF / path for path in changes}:
        path.unlink(missing_ok=True)
    if changes or earlier:
        run("repro", "--quiet", "config")
    print(summary(experiment.name, changes))


def find(name: str) -> Experiment:
    """Return the experiment of this name or commit; if several have the name, the one of HEAD.

    Raises:
        CommandError: there is none.
    """
    head = _git("rev-parse", "HEAD").strip()
    listed = _git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps/??/*/*")
    rows = [line.split(" ", 1) for line in listed.splitlines()]
    rows.sort(key=lambda row: head not in row[1].replace("/", ""))
    experiments = [Experiment(commit, reference.rpartition("/")[2]) for commit, reference in rows]
    for experiment in experiments:
        if name == experiment.name or (len(name) >= 7 and experiment.commit.startswith(name)):
            return experiment
    names = sorted({experiment.name for experiment in experiments})
    hint = nearest(name, names) if names else "there are none so far"
    raise CommandError(f"no experiment {name!r}; {hint} (inv compare)")


def at_risk(commit: str) -> list[str]:
    """Return the changed files that applying a commit would replace, without another copy."""
    prefix = _git("rev-parse", "--show-prefix").strip()
    status = _git("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
    paths = [line[3:] for line in status.split("\0") if line]
    top = Path(_git("rev-parse", "--show-toplevel").strip())
    built = {f"{prefix}{path.as_posix()}" for path in BUILT}
    config = f"{prefix}{CONF}/{CONFIG}"
    unsaved = []
    for path in paths:
        theirs = blob(f"{commit}:{path}")
        if theirs is None or not (top / path).is_file():
            continue  # DVC leaves files alone that the experiment does not have
        if any(path == name or path.startswith(f"{name}/") for name in built):
            continue  # what the pipeline wrote is in DVC's cache
        content_id = _git("hash-object", f"--path={path}", "--", str(top / path)).strip()
        recoverable = {theirs, blob(f"HEAD:{path}"), blob(f"{DVC_APPLIED}:{path}")}
        if content_id not in recoverable and not only_the_mention(top / path, path, config):
            unsaved.append(path.removeprefix(prefix))
    return unsaved


def data_at_risk() -> list[str]:
    """Return the data that changed since DVC recorded it: a checkout would replace it."""
    uncommitted = command.ask("data", "status").get("uncommitted", {})
    paths = [*uncommitted.get("modified", []), *uncommitted.get("added", [])]
    return sorted(path for path in paths if path.startswith("data/"))


def only_the_mention(file: Path, path: str, config: str) -> bool:
    """Whether a file is conf/config.yaml, and differs from HEAD by nothing but the experiment."""
    if path != config or blob(f"HEAD:{path}") is None:
        return False
    committed = _git("show", f"HEAD:{path}")
    return mention(committed, None) == mention(file.read_text(encoding="utf-8"), None)


def written_here() -> set[Path]:
    """Return the files that applying an experiment wrote to conf/ and nobody has committed."""
    status = _git("ls-files", "-z", "--others", "--exclude-standard", "--", CONF.as_posix())
    paths = {Path(line) for line in status.split("\0") if line.endswith(".yaml")}
    return {path for path in paths if WRITTEN in path.read_text(encoding="utf-8")}


def extract(commit: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Write conf/ as it was at a commit into `folder`; return where, and what params.yaml holds."""
    content = git.run(Path(), "archive", "--format=tar", commit, CONF.name, PARAMS.name)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(folder, filter="data")
    return folder / CONF, yaml.safe_load((folder / PARAMS).read_text(encoding="utf-8"))


def plan(name: str, conf: Path, target: dict[str, Any]) -> dict[Path, str]:
    """Return the files with which conf/ composes to `target`, by their paths in it; {} if it does.

    Args:
        name: of the experiment.
        conf: a copy of conf/, which is changed.

    Raises:
        CommandError: conf/ cannot hold the values.
    """
    if composed(conf) == target:
        return {}
    config = (conf / CONFIG).read_text(encoding="utf-8")
    write(conf, {CONFIG: mention(config, None)})
    changes = {} if composed(conf) == target else overlay(name, conf, target, f"{WRITTEN} {name}`")
    changes[CONFIG] = mention(config, name if changes else None)
    write(conf, changes)
    require_composed(name, composed(conf), target)
    return changes


def overlay(name: str, conf: Path, target: dict[str, Any], header: str) -> dict[Path, str]:
    """Return the files with which `experiment=NAME` composes to `target`, by their paths in conf/.

    Args:
        name: of the experiment.
        conf: a copy of conf/ that names no experiment; it is changed.
        header: the comment that they begin with: which command wrote them.

    Raises:
        CommandError: conf/ cannot hold the values.
    """
    changes: dict[Path, str] = {}
    choices = switched(conf, target)
    defaults = composed(conf, *overrides(choices))
    for key in [key for key in target if lacks(defaults.get(key), target[key])]:
        # A file can add and change values, and remove none: this group gets one of its own.
        if not (conf / key).is_dir():
            raise CommandError(f"{name} has no {key} of conf/, which no file there can leave out")
        changes[Path(key, f"{name}.yaml")] = document(header, "all that it has", target[key])
        choices[key] = name
        write(conf, changes)
    defaults = composed(conf, *overrides(choices))
    listed = [{f"override /{group}": option} for group, option in choices.items()]
    values = {**({"defaults": listed} if listed else {}), **difference(defaults, target)}
    text = document(header, "how it differs from the defaults", values)
    changes[Path(GROUP, f"{name}.yaml")] = f"# @package _global_\n{SCHEMA}\n{text}"
    write(conf, changes)
    return changes


def require_composed(name: str, now: dict[str, Any], target: dict[str, Any]) -> None:
    """Raise CommandError unless conf/ composes to `target`."""
    for key in now | target:
        if now.get(key) != target.get(key):
            raise CommandError(f"{name}: conf/ cannot hold its {key}: write it there by hand")


def composed(conf: Path, *overrides: str) -> dict[str, Any]:
    """Compose a folder of Hydra's without checks: it may belong to other code than this."""
    with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
        return plain(hydra.compose("config", overrides=list(overrides)))


def switched(conf: Path, target: dict[str, Any]) -> dict[str, str]:
    """Return, by group, the file that leaves fewer values to change than the default one."""
    config = yaml.safe_load((conf / CONFIG).read_text(encoding="utf-8"))
    entries = [entry for entry in config["defaults"] if isinstance(entry, dict)]
    selected = {group: option for entry in entries for group, option in entry.items()}
    choices: dict[str, str] = {}
    now = composed(conf)
    for group, default in selected.items():
        fewest = distance(now, target)
        if group == GROUP:
            continue
        for file in sorted((conf / group).glob("*.yaml")):
            key = (*package_of(file, conf), None)[0]
            if file.stem == default or (key and not distance(now.get(key), target.get(key))):
                continue
            option = composed(conf, *overrides({**choices, group: file.stem}))
            if distance(option, target) < fewest:
                fewest, choices[group] = distance(option, target), file.stem
        if group in choices:
            now = composed(conf, *overrides(choices))
    return choices


def overrides(choices: dict[str, str]) -> list[str]:
    return [f"{group}={option}" for group, option in choices.items()]


def distance(one: Any, other: Any) -> int:
    """Return how many values differ between two configs."""
    if isinstance(one, dict) and isinstance(other, dict):
        missing = object()
        keys = one | other
        return sum(distance(one.get(key, missing), other.get(key, missing)) for key in keys)
    return 0 if one == other and isinstance(one, bool) == isinstance(other, bool) else 1


def lacks(default: Any, target: Any) -> bool:
    """Whether `target` lacks a key that `default` has, at any depth."""
    if not isinstance(default, dict) or not isinstance(target, dict):
        return False
    return any(key not in target or lacks(default[key], target[key]) for key in default)


def difference(default: dict[str, Any], target: dict[str, Any]) -> dict[str, Any]:
    """Return what has to be merged into `default` for `target`."""
    differing: dict[str, Any] = {}
    for key, value in target.items():
        if key in default and not distance(default[key], value):
            continue
        are_nodes = isinstance(default.get(key), dict) and isinstance(value, dict)
        differing[key] = difference(default[key], value) if are_nodes else value
    return differing


def mention(config: str, name: str | None) -> str:
    """Return the text of conf/config.yaml with another experiment in its defaults.

    Raises:
        CommandError: its defaults have no line for one.
    """
    if not MENTION.search(config):
        raise CommandError(f"{CONF}/{CONFIG}: its defaults have no `- {GROUP}: null`: add it")
    value = "null" if name is None else name
    if name is not None and yaml.safe_load(name) != name:
        value = json.dumps(name)  # digits alone would be a number
    return MENTION.sub(rf"\g<1>{value}", config, count=1)


def document(header: str, what: str, values: dict[str, Any]) -> str:
    return f"{header}: {what}.\n{OmegaConf.to_yaml(OmegaConf.create(values))}"


def write(conf: Path, changes: dict[Path, str]) -> None:
    for path, text in changes.items():
        (conf / path).parent.mkdir(exist_ok=True)
        (conf / path).write_text(text, encoding="utf-8", newline="\n")


def summary(name: str, changes: dict[Path, str]) -> str:
    """Say where the values are, and what to type next."""
    paths = [(CONF / path).as_posix() for path in changes if path != CONFIG]
    if paths:
        where = f"{' and '.join(paths)}, named in {(CONF / CONFIG).as_posix()}, "
        where += "keep its values" if paths[1:] else "keeps its values"
    else:
        where = f"{CONF}/ has its values already"
    return f"{name} is applied: {where}; to keep it: git add --all && git commit"


def blob(name: str) -> str | None:
    """Return the id of a file at a revision, or None where there is none."""
    return git.text(Path(), "rev-parse", "--verify", "--quiet", name)


def _git(*arguments: str) -> str:
    return os.fsdecode(git.run(Path(), *arguments))


def run(*arguments: str) -> None:
    """Show a command of DVC's and run it.

    Raises:
        SystemExit: it failed; its own output says why.
    """
    print(f"$ {shlex.join(('dvc', *arguments))}", flush=True)
    # Not workflow.dvc_store.command: the code of an older experiment may lack it.
    code = subprocess.run([sys.executable, "-m", "dvc", *arguments], check=False).returncode
    if code:
        raise SystemExit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description="Apply an experiment.")
    parser.add_argument("name", help="of the experiment, as inv compare shows it")
    try:
        apply(parser.parse_args().name)
    except (CommandError, GitError) as error:
        raise SystemExit(f"exp.apply: {error}") from None


if __name__ == "__main__":
    main()
