"""Carry a project's own files over the move to `workflow/` (version 1.0.0 of the template).

The update moves the template's files, with your edits in them. What it cannot know is that a
file of yours imports a module that has another name now. This rewrites, in every file that Git
tracks:

- absolute and relative imports of modules that moved, in Python files and notebooks;
- dotted names (`_target_` in conf/, `python -m` in scripts) and paths (deps in dvc.yaml);
- in files that moved to workflow/, only the imports that you added and that lead nowhere now.

Modules of your own stay in the package, also those in a folder that the template left.

    python two_houses.py PROJECT           a project's folder, after the merge of 1.0.0
    python two_houses.py PROJECT --check   only say what would change; exit code 1 if anything would

An update runs it by itself. Standard library only.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
from collections.abc import Callable, Collection
from pathlib import Path

VERSION = "1.0.0"
HOUSE = "workflow"

# Modules of the package that moved, and their names in `workflow`. Those of a folder go with it.
MOVED = {
    "apply": "pipeline.apply",
    "callbacks": "lightning.callbacks",
    "checkpoints": "lightning.checkpoints",
    "compose": "config.compose",
    "conflicts": "conflicts",
    "containers": "containers",
    "containers.run": "containers.container",
    "credentials": "credentials",
    "deployment": "deployment",
    "devices": "lightning.devices",
    "doctor": "doctor",
    "experiments": "runs.experiments",
    "files": "files",
    "git": "git",
    "lineage": "runs.lineage",
    "lineage.data": "runs.lineage.inputs",
    "monitoring": "monitoring",
    "outcome": "pipeline.outcome",
    "paths": "paths",
    "ports": "ports",
    "queue": "pipeline.queue",
    "quiet_dvc": "quiet_dvc",
    "registry": "registry",
    "remotes": "remotes",
    "report": "report.report",
    "repository": "repository",
    "restoring": "runs.restoring",
    "restoring.data": "object_store",
    "resume": "lightning.resume",
    "schema": "config.schema",
    "serving": "serving",
    "serving.log": "serving.input_log",
    "start": "lightning.start",
    "storage": "storage",
    "tracking": "tracking",
    "tracking.callbacks": "lightning.wandb_callbacks",
    "tracking.log": "lightning.run_log",
    "tracking.runs": "runs.finding",
    "values": "config.values",
    "variables": "variables",
}
FILES = {"report.html.jinja": "report/report.html.jinja"}  # that are not Python
TEXT = (".py", ".yaml", ".yml", ".toml", ".md", ".cfg", ".hcl", ".sh", ".ipynb", ".txt", ".json")
TEXT_NAMES = (".dockerignore", "Dockerfile", ".gitattributes", ".gitignore")


def moved(name: str, own: Collection[str] = ()) -> str | None:
    """Return where a module is now, as a dotted name; None where it did not move.

    Args:
        name: a dotted name in the package, without the package's own; `tracking.run`.
        own: the modules that are still in the package, as dotted names.
    """
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        if ".".join(parts[:count]) in own:
            return None
        place = MOVED.get(".".join(parts[:count]))
        if place:
            return ".".join([HOUSE, place, *parts[count:]])
    return None


def rewrite_imports(
    source: str,
    package: str,
    old: str = "",
    new: str = "",
    own: Collection[str] = (),
    wanted: Callable[[ast.ImportFrom], bool] = lambda _: True,
) -> str:
    """Return Python source with the imports of modules that moved renamed.

    Args:
        package: the name of the project's package.
        old: the dotted package that the file was in, which relative imports counted from.
        new: the one that it is in now; without one, imports of `workflow` are absolute.
        own: the modules that are still in the package, as dotted names.
        wanted: which imports are rewritten, if they are to be.
    """
    lines = source.split("\n")
    for node in sorted(ast.walk(ast.parse(source)), key=lambda n: -getattr(n, "lineno", 0)):
        if not isinstance(node, ast.ImportFrom) or not wanted(node):
            continue
        base = node.module or ""
        if node.level:
            parts = old.split(".")[: len(old.split(".")) - node.level + 1]
            base = ".".join([*parts, *([node.module] if node.module else [])])
        if base != package and not base.startswith(f"{package}."):
            continue
        statements = _statements(node, base, package, old, new, own)
        if statements is None:
            continue
        assert node.end_lineno is not None
        indent = " " * node.col_offset
        rest = lines[node.end_lineno - 1][node.end_col_offset :]  # a comment
        new_lines = [f"{indent}{statement}" for statement in statements]
        new_lines[-1] += rest
        lines[node.lineno - 1 : node.end_lineno] = new_lines
    return "\n".join(lines)


def _statements(
    node: ast.ImportFrom, base: str, package: str, old: str, new: str, own: Collection[str]
) -> list[str] | None:
    """Return the import again, one statement for each module; None where nothing moved."""
    inside = base.removeprefix(package).lstrip(".")
    grouped: dict[str, list[str]] = {}
    for alias in node.names:
        # The name is a module of the package, or of a module in it.
        full = f"{inside}.{alias.name}".lstrip(".")
        known = full in MOVED or (inside and _is_folder(inside))
        target = moved(full, own) if known else None
        if target:
            folder, _, leaf = target.rpartition(".")
            name = alias.asname or (alias.name if alias.name != leaf else None)
            grouped.setdefault(folder, []).append(f"{leaf} as {name}" if name else leaf)
        else:
            stays = not inside or full in own
            module = base if stays else moved(inside, own) or base
            name = f"{alias.name} as {alias.asname}" if alias.asname else alias.name
            grouped.setdefault(module, []).append(name)
    if old == new and list(grouped) == [base]:
        return None
    return [
        f"from {_seen_from(new, module)} import {', '.join(names)}"
        for module, names in grouped.items()
    ]


def _is_folder(name: str) -> bool:
    return name in {key for key in MOVED if any(k.startswith(f"{key}.") for k in MOVED)} | {
        "deployment",
        "monitoring",
        "registry",
    }


def _seen_from(package: str, module: str) -> str:
    """Return a module's name as an import in `package` writes it."""
    here, there = package.split("."), module.split(".")
    common = 0
    for one, other in zip(here, there, strict=False):
        if one != other:
            break
        common += 1
    if not common:
        return module
    return "." * (len(here) - common + 1) + ".".join(there[common:])


def rewrite_names(
    text: str, package: str, own: Collection[str] = (), is_python: bool = False
) -> str:
    """Return any text with the dotted names and the paths of what moved renamed.

    Args:
        is_python: whether `rewrite_imports` has seen its imports already.
    """

    def dotted(match: re.Match[str]) -> str:
        return moved(match[1], own) or match[0]

    def path(match: re.Match[str]) -> str:
        name = match[1]
        if name in FILES:
            return f"{HOUSE}/{FILES[name]}"
        stem = name.removesuffix(".py")
        module = moved(stem.removesuffix("/").replace("/", "."), own)
        if module is None:
            return match[0]
        suffix = name[len(stem) :] or ("/" if name.endswith("/") else "")
        return module.replace(".", "/") + suffix

    quoted = re.escape(package)
    before = r"(?<![\w.\-/])" + "(?<!from )" * is_python
    text = re.sub(rf"{before}{quoted}\.([a-z_]+(?:\.[a-z_]+)*)", dotted, text)
    name = r"([a-z_]+(?:/[a-z_]+)*(?:\.py|\.html\.jinja|/)?)"
    return re.sub(rf"(?<![\w.\-]){quoted}/{name}", path, text)


def rewrite(path: Path, package: str, own: Collection[str]) -> str | None:
    """Return the new text of a tracked file; None where nothing in it is to be renamed."""
    text = path.read_text(encoding="utf-8")
    new = text
    here = ".".join(path.parent.parts)
    if path.parts[0] == HOUSE:
        if path.suffix == ".py":
            new = rewrite_imports(
                new, package, _old_package(path, package), here, own, _is_lost(path)
            )
    else:
        if path.suffix == ".py":
            here = here if path.parts[0] == package else ""
            new = rewrite_imports(new, package, here, here, own)
        new = rewrite_names(new, package, own, path.suffix == ".py")
    return new if new != text else None


def _is_lost(path: Path) -> Callable[[ast.ImportFrom], bool]:
    """Return whether an import of a file in workflow/ leads to no module of it."""

    def is_lost(node: ast.ImportFrom) -> bool:
        if not node.level:
            return False
        folder = path.parents[node.level - 1]
        if node.module:
            return not _is_module(folder.joinpath(*node.module.split(".")))
        defined = (folder / "__init__.py").read_text(encoding="utf-8")
        return any(
            not _is_module(folder / alias.name) and alias.name not in defined
            for alias in node.names
        )

    return is_lost


def _is_module(path: Path) -> bool:
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _old_package(path: Path, package: str) -> str:
    """Return the dotted package that a file of workflow/ was in before it moved."""
    name = ".".join(path.with_suffix("").parts[1:]).removesuffix(".__init__")
    places = {new: old for old, new in MOVED.items()}
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        old = places.get(".".join(parts[:count]))
        if old:
            module = [package, *old.split("."), *parts[count:]]
            return ".".join(module if path.name == "__init__.py" else module[:-1])
    return package


def modules_of(package: str) -> set[str]:
    """Return the modules of the package, as dotted names without the package's own."""
    paths = (path.relative_to(package).with_suffix("") for path in Path(package).rglob("*.py"))
    return {".".join(path.parts) for path in paths if path.name != "__init__"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("project", type=Path, help="the project's folder")
    parser.add_argument("--check", action="store_true", help="only say what would change")
    options = parser.parse_args()
    os.chdir(options.project)
    record = json.loads(Path(".cruft.json").read_text(encoding="utf-8"))
    package = record["context"]["cookiecutter"]["package_name"]
    if not Path(HOUSE).is_dir():
        raise SystemExit(f"there is no folder {HOUSE}/ here: update to 1.0.0 first")
    if not Path(package).is_dir():
        raise SystemExit(f"there is no folder {package}/ here, the package of .cruft.json")
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=True)
    own = modules_of(package)
    changed = 0
    for name in filter(None, listed.stdout.split("\0")):
        path = Path(name)
        is_text = path.suffix in TEXT or path.name in TEXT_NAMES or path.suffix == ".Dockerfile"
        if not is_text or not path.is_file() or name == "params.yaml":  # composed again
            continue
        try:
            new = rewrite(path, package, own)
        except (SyntaxError, UnicodeDecodeError) as error:
            print(f"{name}: left as it is: {error}")
            continue
        if new is not None:
            changed += 1
            print(f"{name}: renamed what moved")
            if not options.check:
                windows = b"\r\n" in path.read_bytes()
                path.write_text(new, encoding="utf-8", newline="\r\n" if windows else "\n")
    print(f"{changed} files {'would change' if options.check else 'changed'}")
    raise SystemExit(bool(options.check and changed))


if __name__ == "__main__":
    main()
