"""The code that the stages of dvc.yaml depend on: every file that a stage's module imports.

    python -m workflow.stage_code          says what dvc.yaml does not list
    python -m workflow.stage_code --fix    writes it into dvc.yaml

A stage depends on the files of the project that it imports, directly or not, and on the modules
that `_target_` names in the keys of conf/ that the stage reads. Of `workflow`, only what decides a
result counts: tracking, serving and deployment may change without training anything again.
"""

import argparse
import ast
import functools
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .config.places import package_of
from .errors import CommandError, one_line
from .files import replace
from .paths import CONF, ROOT

PIPELINE = Path("dvc.yaml")
WORKFLOW = "workflow"
# Of the workflow, what decides a result: these modules, and those in these packages,
DECIDES = (
    "workflow.batch_order",
    "workflow.deciding_metric",
    "workflow.keras",
    "workflow.lightning",
    "workflow.onnx_file",
    "workflow.prepared",
    "workflow.raw_data",
    "workflow.report",
    "workflow.scikit_learn",
    "workflow.shards",
    "workflow.signature",
)
# but not what only records a training, refuses to start it, or makes it faster.
RECORDS = (
    "workflow.keras.checkpoint",
    "workflow.keras.devices",
    "workflow.keras.quiet",
    "workflow.keras.trial_reports",
    "workflow.keras.wandb_callbacks",
    "workflow.lightning.devices",
    "workflow.lightning.mid_epoch",
    "workflow.lightning.pending",
    "workflow.lightning.resume",
    "workflow.lightning.run_log",
    "workflow.lightning.step_cost",
    "workflow.lightning.trial_reports",
    "workflow.lightning.wandb_callbacks",
    "workflow.scikit_learn.checkpoint",
)
MODULE = re.compile(r"\bpython[\d.]*\s+-m\s+([\w.]+)")


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml, as far as its code goes.

    Args:
        modules: that it runs, with `python -m`.
        keys: of the config, that it reads.
        deps: that dvc.yaml lists.
    """

    name: str
    modules: tuple[str, ...]
    keys: tuple[str, ...]
    deps: tuple[str, ...]


def files(name: str, root: Path = ROOT) -> list[Path]:
    """Return the files of code that decide the result of a stage, below `root` or installed.

    Raises:
        CommandError: dvc.yaml has no such stage, or a file cannot be parsed.
    """
    stages = {stage.name: stage for stage in read(root)}
    if name not in stages:
        raise CommandError(f"{PIPELINE}: no stage {name}")
    return Code(root).files(stages[name])


def missing(root: Path = ROOT) -> dict[str, list[str]]:
    """Return, by stage, the files of the project that its code imports and `deps` does not list.

    Raises:
        CommandError: a file cannot be parsed.
    """
    code, by_stage = Code(root), {}
    for stage in read(root):
        if all(module.partition(".")[0] == WORKFLOW for module in stage.modules):
            continue  # the template lists what its own stages need
        here = [path for path in code.files(stage) if path.is_relative_to(root)]
        names = [path.relative_to(root).as_posix() for path in here]
        if unlisted := [name for name in names if not _lists(stage.deps, name)]:
            by_stage[stage.name] = unlisted
    return by_stage


def require_listed(root: Path = ROOT) -> None:
    """Raise CommandError, with what to type, if dvc.yaml does not list all code of its stages."""
    if lacking := missing(root):
        parts = (f"{', '.join(names)} in {stage}" for stage, names in lacking.items())
        raise CommandError(f"{PIPELINE}: deps lack {'; '.join(parts)}: inv check --fix adds them")


def fix(root: Path = ROOT) -> list[str]:
    """Write what is missing into dvc.yaml, drop code that is gone, and return a line for each.

    Raises:
        CommandError: a file cannot be parsed.
    """
    lacking, changes = missing(root), []
    text = (root / PIPELINE).read_text(encoding="utf-8")
    for stage in read(root):
        gone = [dep for dep in stage.deps if dep.endswith(".py") and not (root / dep).exists()]
        new = lacking.get(stage.name, [])
        text = _with_deps(text, stage.name, new, gone)
        changes += [f"{stage.name}: {name} added" for name in new]
        changes += [f"{stage.name}: {name} removed: there is no such file" for name in gone]
    if changes:
        replace(root / PIPELINE, text)
    return changes


def read(root: Path = ROOT) -> list[Stage]:
    """Return the stages of dvc.yaml that run a module."""
    pipeline = yaml.safe_load((root / PIPELINE).read_text(encoding="utf-8")) or {}
    stages = []
    for name, node in (pipeline.get("stages") or {}).items():
        node = node.get("do", node)  # of a `foreach`
        command = node.get("cmd", "")
        text = "\n".join(command) if isinstance(command, list) else str(command)
        if modules := tuple(MODULE.findall(text)):
            deps = (str(d if isinstance(d, str) else next(iter(d))) for d in node.get("deps") or ())
            stages.append(Stage(name, modules, tuple(_keys(node)), tuple(deps)))
    return stages


class Code:
    """The imports among the packages of the project and of the workflow."""

    def __init__(self, root: Path) -> None:
        import grimp
        from grimp.exceptions import SourceSyntaxError

        packages = {path.parent.name for path in root.glob("*/__init__.py")} - {"tests"} | {
            WORKFLOW
        }
        self.root = root
        self.folders = {name: folder for name in packages if (folder := _folder(name))}
        try:
            self.graph = grimp.build_graph(
                *self.folders, exclude_type_checking_imports=True, cache_dir=None
            )
        except SourceSyntaxError as error:
            raise CommandError(one_line(error)) from None

    def files(self, stage: Stage) -> list[Path]:
        """Return the files that decide the result of a stage, in the order of their names."""
        waiting, seen = [*stage.modules, *self._made_by(stage.keys)], set[str]()
        while waiting:
            module = waiting.pop()
            if module in seen or module not in self.graph.modules or not decides(module):
                continue
            seen.add(module)
            waiting += self.graph.find_modules_directly_imported_by(module)
            waiting += [module.rpartition(".")[0]]  # Python runs the __init__.py above it too
        return sorted(path for module in seen if (path := self._path(module)))

    def _made_by(self, keys: tuple[str, ...]) -> Iterator[str]:
        """Yield the modules that `_target_` names in these keys of conf/."""
        for key, target in self._targets:
            if any(f"{key}.".startswith(f"{read}.") for read in keys):
                while target and target not in self.graph.modules:
                    target = target.rpartition(".")[0]
                yield target

    @functools.cached_property
    def _targets(self) -> list[tuple[str, str]]:
        """The dotted key of each node of conf/ that has a `_target_`, and the target."""
        targets: list[tuple[str, str]] = []
        for path in sorted((self.root / CONF).rglob("*.yaml")):
            text = path.read_text(encoding="utf-8")
            if "_target_" not in text:
                continue
            try:
                node = yaml.safe_load(text)
            except yaml.YAMLError:
                continue  # composing it says what is wrong
            place = ".".join(package_of(path, self.root / CONF))
            targets += _find_targets(node, place)
        return targets

    def _path(self, module: str) -> Path | None:
        """Return the file of a module, or None for an __init__.py that runs nothing."""
        package, *rest = module.split(".")
        path = self.folders[package].joinpath(*rest)
        if path.is_dir():
            path /= "__init__.py"
            return path if path.exists() and _runs(path) else None
        return path.with_name(f"{path.name}.py")


def decides(module: str) -> bool:
    """Whether a module can change the result of a stage: all outside of the workflow can."""

    def within(names: tuple[str, ...]) -> bool:
        return any(f"{module}.".startswith(f"{name}.") for name in names)

    return not within((WORKFLOW,)) or (within(DECIDES) and not within(RECORDS))


def _folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


def _runs(path: Path) -> bool:
    """Whether a file has more than a docstring."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)) for n in body)


def _find_targets(node: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the dotted key of each node that has a `_target_`, and the target."""
    if isinstance(node, list):
        for item in node:
            yield from _find_targets(item, key)
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "_target_":
                yield key, str(value)
            else:
                yield from _find_targets(value, f"{key}.{name}".strip("."))


def _keys(node: dict[str, Any]) -> Iterator[str]:
    for entry in node.get("params") or ():
        if isinstance(entry, dict):
            for names in entry.values():
                yield from names or ()
        else:
            yield entry


def _lists(deps: tuple[str, ...], name: str) -> bool:
    """Whether deps name a file, or a folder that it is in."""
    return any(f"{name}/".startswith(f"{dep.rstrip('/')}/") for dep in deps)


def _with_deps(text: str, stage: str, new: list[str], gone: list[str]) -> str:
    """Return the text of dvc.yaml with other deps of a stage; all other lines stay as they are."""
    if not new and not gone:
        return text
    lines = text.splitlines()
    node = _entry(_entry(yaml.compose(text), "stages"), stage)
    node = _entry(node, "do") or node
    deps = _entry(node, "deps")
    if deps is None:
        at, indent = node.start_mark.line, " " * node.start_mark.column
        lines[at:at] = [f"{indent}deps:", *(f"{indent}  - {name}" for name in new)]
    elif deps.flow_style:
        raise CommandError(f"{PIPELINE}: write deps of {stage} as a list, an entry a line: {new}")
    else:
        last = [item.start_mark.line for item in deps.value if isinstance(item, yaml.ScalarNode)]
        at = last[-1] + 1 if last else deps.start_mark.line
        indent = " " * deps.start_mark.column
        lines[at:at] = [f"{indent}- {name}" for name in new]
        for item in reversed(deps.value):
            if item.value in gone:
                del lines[item.start_mark.line]
    return "\n".join(lines) + "\n"


def _entry(node: Any, key: str) -> Any:
    """Return the value of a key of a YAML node, or None."""
    return next((value for name, value in node.value if name.value == key), None)


def main() -> int:
    parser = argparse.ArgumentParser(description="The code that the stages depend on.")
    parser.add_argument("--fix", action="store_true", help="write what is missing into dvc.yaml")
    try:
        if parser.parse_args().fix:
            for line in fix():
                print(f"{PIPELINE}: {line}")
        require_listed()
    except CommandError as error:
        raise SystemExit(str(error)) from None
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
