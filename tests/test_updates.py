"""Projects of past versions, with the edits that people make, are updated to this one.

    uv run inv test -- tests/test_updates.py -m weekly    every version with every edit

Each change tries a few edits at a time on a project of each version; the whole matrix has projects
of ten more commits. No edit is lost, what the template did not touch is in no conflict, and the
exit code tells whether there is one. The rules of an update: workflow/test_template_update.py.
"""

from __future__ import annotations

import ast
import difflib
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml
from baking import FOLDER, ROOT, git, workspace
from driving import PYTHON, UV, Project, environment, interpreter

sys.path.append(str(ROOT / FOLDER))
from workflow.template import owners, progress, rendering, three_way, update
from workflow.template.eject import eject
from workflow.template.record import Record, read, write
from workflow.template.source import Source, open_source

pytestmark = pytest.mark.slow
VERSIONS = ("0.2.0", "1.0.0", "2.0.0", "3.0.0", "3.1.0")
POINTS = 10  # of the history, beside those
SLUG, PACKAGE = "my-ml-project", "my_ml_project"
ANSWERS = {"project_slug": SLUG, "package_name": PACKAGE, "__year": "2020"}
MARKER = "only the project says this"


@dataclass
class Edited:
    """A project of a past version, in Git.

    Args:
        expected: a text, and by it the file that had it; it is in some file afterwards.
        absent: paths that are not there afterwards.
        extra: what else is to be true afterwards.
    """

    path: Path
    package: str = PACKAGE
    expected: dict[str, str] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    extra: list[Callable[[Path], None]] = field(default_factory=list)

    def mark(self, name: str) -> str:
        """A line that nobody else has."""
        text = f"{MARKER} in {name}"
        self.expected[text] = name
        return text

    def add(self, name: str, text: str) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text, encoding="utf-8", newline="\n")

    def append(self, name: str, text: str) -> None:
        with (self.path / name).open("a", encoding="utf-8", newline="") as file:
            file.write(text)

    def insert(self, name: str, after: str, text: str) -> None:
        """Put lines after the first line that matches."""
        path = self.path / name
        lines = path.read_bytes().decode().splitlines(keepends=True)
        at = next(number for number, line in enumerate(lines) if re.search(after, line)) + 1
        path.write_bytes("".join([*lines[:at], text, *lines[at:]]).encode())

    def first(self, *patterns: str) -> str:
        """The first file that matches one of the patterns, tried in order."""
        paths = (path for pattern in patterns for path in sorted(self.path.glob(pattern)))
        return next(paths).relative_to(self.path).as_posix()


def nothing(project: Edited) -> None:
    """A project as it was made."""


def own_model(project: Edited) -> None:
    name = f"{project.package}/own.py"
    project.add(name, f'"""{project.mark(name)}."""\n\n\nclass Own:\n    """A model."""\n')
    text = f"# {project.mark('conf/model/own.yaml')}\n_target_: {project.package}.own.Own\n"
    project.add("conf/model/own.yaml", text)


def changed_config(project: Edited) -> None:
    name = project.first("conf/optimizer/*.yaml", "conf/config.yaml")
    project.append(name, f"# {project.mark(name)}\n")


def changed_value(project: Edited) -> None:
    name = project.first("conf/trainer/cpu.yaml", "conf/trainer/*.yaml")
    path = project.path / name
    text, count = re.subn(r"max_epochs: \d+", "max_epochs: 7", path.read_text("utf-8"))
    assert count
    path.write_text(text, encoding="utf-8", newline="\n")
    project.expected["max_epochs: 7"] = name


def class_in_model(project: Edited) -> None:
    name = f"{project.package}/model.py"
    project.append(name, f'\n\nclass Own:\n    """{project.mark(name)}."""\n')


def own_task(project: Edited) -> None:
    name = project.first("tasks.py", "tasks/__init__.py")
    project.append(name, f"\n# {project.mark(name)}\n")


def own_test(project: Edited) -> None:
    project.add("tests/test_own.py", f"# {project.mark('tests/test_own.py')}\n")


def edited_ci(project: Edited) -> None:
    name = project.first(".github/workflows/*.yml")
    project.insert(name, r"^on:", f"  # {project.mark(name)}\n")


def edited_readme(project: Edited) -> None:
    project.insert("README.md", r"^# ", f"\n{project.mark('README.md')}\n")


def edited_gitignore(project: Edited) -> None:
    project.append(".gitignore", f"\n# {project.mark('.gitignore')}\n/ours/\n")


def deleted_folder(project: Edited) -> None:
    folder = project.first("deploy", "docker", "notebooks", "tests")
    shutil.rmtree(project.path / folder)
    project.absent.append(folder)


def deleted_file(project: Edited) -> None:
    name = project.first("docs/kubernetes.md", "LICENSE")
    (project.path / name).unlink()
    project.absent.append(name)


def renamed_file(project: Edited) -> None:
    name = project.first("notebooks/*.ipynb")
    (project.path / name).rename(project.path / "notebooks/renamed.ipynb")
    project.absent.append(name)
    project.extra.append(lambda path: json.loads((path / "notebooks/renamed.ipynb").read_text()))


def renamed_package(project: Edited) -> None:
    (project.path / project.package).rename(project.path / "vision")
    for path in project.path.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            content = path.read_bytes()
            if project.package.encode() in content and path.name != ".cruft.json":
                path.write_bytes(content.replace(project.package.encode(), b"vision"))
    project.absent.append(PACKAGE)
    project.package = "vision"

    def is_nowhere(path: Path) -> None:
        listed = subprocess.run(["git", "grep", "-l", PACKAGE], cwd=path, capture_output=True)
        assert listed.stdout == b"", listed.stdout

    project.extra.append(is_nowhere)


def binary_file(project: Edited) -> None:
    content = bytes(range(256)) * 40 + b"<<<<<<< \r\n"
    project.add("assets/logo.bin", "")
    (project.path / "assets/logo.bin").write_bytes(content)

    def is_the_same(path: Path) -> None:
        assert (path / "assets/logo.bin").read_bytes() == content

    project.extra.append(is_the_same)


def script(project: Edited) -> None:
    project.add("scripts/own.sh", f"#!/bin/sh\n# {project.mark('scripts/own.sh')}\n")
    (project.path / "scripts/own.sh").chmod(0o755)
    project.extra.append(lambda path: _assert(os.access(path / "scripts/own.sh", os.X_OK)))


def results(project: Edited) -> None:
    for name in ("dvc.lock", "params.yaml", "reports/metrics.json", "runs/train/metrics.json"):
        project.add(name, f"# {project.mark(name)}\n" if "json" not in name else "{}\n")
    project.append("data/README.md", f"\n{project.mark('data/README.md')}\n")


def ejected(project: Edited) -> None:
    name = project.first("docker/*.Dockerfile", "docker/*", ".devcontainer/*")
    project.append(name, f"# {project.mark(name)}\n")
    eject(project.path, name)


def windows(project: Edited) -> None:
    """The line ends of a checkout on Windows, under `* text=auto`."""
    git(project.path, "config", "core.autocrlf", "true")
    edited_readme(project)
    path = project.path / "README.md"
    path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


def committed_windows(project: Edited) -> None:
    """Those line ends in what is committed, as without any setting."""
    names = (".gitattributes", "README.md", "conf/config.yaml", f"{project.package}/model.py")
    for path in (project.path / name for name in names):
        if path.exists() and path.name != ".gitattributes":
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    edited_gitignore(project)


def monorepo(project: Edited) -> None:
    """A folder of a repository with others in it."""
    edited_readme(project)
    outer = project.path.with_name("outer")
    shutil.rmtree(project.path / ".git")
    outer.mkdir()
    project.path.rename(outer / SLUG)
    project.path = outer / SLUG
    (outer / "README.md").write_text("of all\n")
    git(outer, "init", "--quiet", "--initial-branch=main")


def own_dependency(project: Edited) -> None:
    """A package of the project's own, and a version that was raised (there: lowered)."""
    project.insert("pyproject.toml", r"^dependencies = \[", '    "tomlkit>=0.13",\n')
    project.expected['"tomlkit>=0.13"'] = "pyproject.toml"
    lock = project.path / "uv.lock"
    before = lock.read_text("utf-8")
    command = ["lock", "--quiet", "--upgrade-package=platformdirs==4.3.8"]
    environ = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
    subprocess.run([UV, *command], cwd=project.path, check=True, env=environ)
    assert lock.read_text("utf-8") != before

    def is_kept(path: Path) -> None:
        locked = {
            p["name"]: p.get("version")
            for p in tomllib.loads((path / "uv.lock").read_text("utf-8"))["package"]
        }
        assert locked["platformdirs"] == "4.3.8"
        assert "tomlkit" in locked
        subprocess.run([UV, "lock", "--check", "--quiet"], cwd=path, check=True, env=environ)

    project.extra.append(is_kept)


EDITS: list[Callable[[Edited], None]] = [
    nothing,
    own_model,
    changed_config,
    changed_value,
    class_in_model,
    own_task,
    own_test,
    edited_ci,
    edited_readme,
    edited_gitignore,
    deleted_folder,
    deleted_file,
    renamed_file,
    renamed_package,
    binary_file,
    script,
    results,
    ejected,
    windows,
    committed_windows,
    monorepo,
    own_dependency,
]


def _assert(value: bool) -> None:
    assert value


@functools.cache
def source() -> Source:
    with open_source(str(ROOT)) as opened:
        return opened


@functools.cache
def commits() -> dict[str, str]:
    """What projects are made of: by version or short name, the commit."""
    known = source().versions()
    assert VERSIONS[0] in known, "the template's history is not here: git fetch --unshallow"
    history = git(ROOT, "log", "--first-parent", "--reverse", "--format=%H").split()
    history = [commit for commit in history if commit not in known.values()]
    points = [history[len(history) * n // (POINTS + 1)] for n in range(1, POINTS + 1)]
    return {name: known[name] for name in VERSIONS} | {point[:7]: point for point in points}


RENDERED: dict[str, rendering.Rendering] = {}


@pytest.fixture(autouse=True, scope="module")
def rendered_once() -> Iterator[None]:
    """Each version is rendered once with the same answers."""
    real = rendering.rendering

    def once(
        opened: Source, commit: str, answers: Mapping[str, str], folder: Path
    ) -> rendering.Rendering:
        known = {name: answers[name] for name in opened.questions(commit) if name in answers}
        key = json.dumps([commit, sorted(known.items())])
        if key not in RENDERED:
            target = workspace() / "rendered" / str(len(RENDERED))
            RENDERED[key] = real(opened, commit, answers, target)
        rendered = RENDERED[key]
        return replace(rendered, project=Path(shutil.copytree(rendered.project, folder / SLUG)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "rendering", once)
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Zoe")
            patch.setenv(f"GIT_{role}_EMAIL", "zoe@example.com")
        yield


def make(folder: Path, commit: str, **answers: str) -> Edited:
    """Make a project, committed as it is, with its record."""
    asked = source().questions(commit)
    applicable = {name: text for name, text in (ANSWERS | answers).items() if name in asked}
    rendered = rendering.rendering(source(), commit, applicable, folder)
    path = rendered.project
    write(path, Record(str(ROOT), commit, source().version(commit), rendered.answers))
    git(path, "init", "--quiet", "--initial-branch=main")
    save(path)
    return Edited(path)


def save(path: Path) -> None:
    git(path, "-c", "core.safecrlf=false", "add", "--all", "--force")
    git(path, "commit", "--quiet", "--allow-empty", "--message=Mine")


def updated(folder: Path, commit: str, *edits: Callable[[Edited], None]) -> list[str]:
    """Update an edited project, check what came out; return the conflicts, each a true one."""
    project = make(folder, commit)
    for edit in edits:
        edit(project)
    save(project.path)
    passed = update.start(project.path, tests=False)
    place = three_way.at(project.path)
    conflicts = three_way.unmerged(place)
    assert passed == (not conflicts)
    for path in conflicts:
        assert owners.owner(path.removeprefix(place.prefix)) == "merged", path
        assert is_true(place, path), f"{path}: in conflict where the template changed nothing"
    if passed:
        assert git(project.path, "status", "--porcelain") == ""
        assert read(project.path).commit == source().newest()
        assert progress.read(place.git_dir) is None
        assert_parses(project.path)
        for check in project.extra:
            check(project.path)
    for text, name in project.expected.items():
        result = subprocess.run(
            ["git", "grep", "--quiet", "--text", "--fixed-strings", text], cwd=project.path
        )
        assert result.returncode == 0, f"lost in {name}: {text}"
    assert [name for name in project.absent if (project.path / name).exists()] == []
    return conflicts


def is_true(place: three_way.Place, path: str) -> bool:
    """Whether the template changed lines of a file in conflict that the project changed, too."""
    stages = []
    for number in (1, 2, 3):
        try:
            stages.append(place.git("show", f":{number}:{path}").splitlines())
        except Exception:  # deleted, or added, by one side
            return True
    base, ours, theirs = stages

    def changed(other: list[str]) -> list[tuple[int, int]]:
        matcher = difflib.SequenceMatcher(None, base, other, autojunk=False)
        return [(a, b) for kind, a, b, *_ in matcher.get_opcodes() if kind != "equal"]

    return any(a <= d and c <= b for a, b in changed(ours) for c, d in changed(theirs))


def assert_parses(project: Path) -> None:
    for name in git(project, "ls-files", "-z").split("\0"):
        path = project / name
        if path.suffix == ".py":
            ast.parse(path.read_text("utf-8"))
        elif path.suffix in (".toml", ".lock") and path.name != "dvc.lock":
            tomllib.loads(path.read_text("utf-8"))
        elif path.suffix in (".yaml", ".yml") and name != "params.yaml":
            list(yaml.load_all(path.read_text("utf-8"), yaml.CSafeLoader))
        elif path.suffix in (".json", ".ipynb"):
            json.loads(path.read_text("utf-8"))


def moved_names(project: Edited) -> None:
    """Own files that name what moved within `workflow/` in 3.0.0 and 3.1.0."""
    old, new = "workflow.lightning", "workflow.training"
    project.add("conf/callbacks/ours.yaml", f"ours:\n  _target_: {old}.wandb_callbacks.{VIEW}\n")
    imports = ("{0}.{1} import {2}", "{0} import {3} as own")
    text = "".join(f"from {line}\n" for line in imports)
    project.add("tests/ours.py", text.format(old, "checkpoints", "load", "checkpoints"))

    def are_renamed(path: Path) -> None:
        assert f": {new}.best_model.{VIEW}\n" in (path / "conf/callbacks/ours.yaml").read_text()
        expected = text.format(new, "checkpoints", "load", "checkpoints")
        assert (path / "tests/ours.py").read_text() == expected

    project.extra.append(are_renamed)


VIEW = "PredictionsTable"


def moved_modules(project: Edited) -> None:
    """A project from before 1.0.0 with code of its own among the modules that moved."""
    for name, text in MOVED_FILES.items():
        project.add(name, text.lstrip())
    for name, old, new in MOVED_EDITS:
        text = (project.path / name).read_text("utf-8")
        assert old in text, name
        project.add(name, text.replace(old, new, 1))


MOVED_FILES = {
    f"{PACKAGE}/ours.py": '"""Our own."""\n\nLIMIT = 5\n',
    f"{PACKAGE}/tracking/note.py": '''
"""Our own callback, in a folder that moves."""

import lightning as L

from .. import paths
from ..ours import LIMIT
from . import provenance


class Note(L.Callback):
    written = (paths.MODEL, LIMIT, provenance.collect)
''',
    "conf/callbacks/note.yaml": f"note:\n  _target_: {PACKAGE}.tracking.note.Note\n",
    "tests/test_ours.py": f"""
from {PACKAGE} import paths
from {PACKAGE}.tracking import log, note, provenance
from {PACKAGE}.tracking.callbacks import StopReason
from {PACKAGE}.values import ConfigError


def test_ours() -> None:
    assert log.RunLog and StopReason and ConfigError and provenance.collect
    assert note.Note.written[:2] == (paths.MODEL, 5)
""",
    "scripts/ours.sh": f"python -m {PACKAGE}.experiments\nwc -l {PACKAGE}/tracking/note.py\n",
}
# File, old text, new text.
MOVED_EDITS = [
    ("conf/callbacks/default.yaml", "  - throughput\n", "  - note\n"),
    (
        f"{PACKAGE}/serving/service.py",
        "from .settings import Settings\n",
        "from .settings import Settings\nfrom ..ours import LIMIT\n",
    ),
    (f"{PACKAGE}/serving/service.py", '{"live": True}', '{"live": True, "limit": LIMIT}'),
    (f"{PACKAGE}/doctor.py", "def main(", "OURS = True\n\n\ndef main("),
]
# Imports every module, but for what runs when it is imported, or has an environment of its own.
IMPORT_ALL = """
import importlib, pathlib
for package in ("workflow", "my_ml_project"):
    for path in sorted(pathlib.Path(package).rglob("*.py")):
        if path.name not in ("__main__.py", "drift.py"):
            importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
"""


def test_own_code_among_modules_that_moved_is_carried_over(
    tmp_path: Path, project_python: Path
) -> None:
    project = make(tmp_path, commits()["0.2.0"])
    moved_modules(project)
    save(project.path)
    assert update.start(project.path, to="1.0.0", tests=False)
    path = project.path

    def python(*arguments: str) -> None:
        environ = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [str(project_python), *arguments], cwd=path, env=environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    python("-c", IMPORT_ALL)
    python("-c", "from workflow.config.compose import compose; compose([])")
    python("-m", "pytest", "-q", "tests/test_ours.py")
    # Each edit is there: in its file, or in the one that it moved to.
    for name, _, written in MOVED_EDITS:
        at = name if name.startswith("conf") else f"workflow/{name.removeprefix(f'{PACKAGE}/')}"
        text = (path / at).read_text("utf-8")
        assert written.replace("from ..ours", f"from {PACKAGE}.ours") in text
    assert (path / "scripts/ours.sh").read_text("utf-8").splitlines() == [
        "python -m workflow.runs.experiments",
        f"wc -l {PACKAGE}/tracking/note.py",
    ]
    # Again, it changes nothing.
    migration = str(ROOT / "migrations" / "two_houses.py")
    python(migration, str(path), "--check")


DIAGONAL = {
    "0.2.0": [own_model, edited_readme, edited_gitignore, renamed_file, results],
    "1.0.0": [own_task, edited_ci, binary_file, deleted_folder],
    "2.0.0": [own_test, script, windows, moved_names],
    "3.0.0": [changed_config, class_in_model, deleted_file, ejected],
    "3.1.0": [changed_value, committed_windows, renamed_package, monorepo],
}


@pytest.mark.parametrize("version", DIAGONAL)
def test_edits_of_a_project_of_each_version_last(version: str, tmp_path: Path) -> None:
    updated(tmp_path, commits()[version], *DIAGONAL[version])


@pytest.mark.weekly
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
@pytest.mark.parametrize("point", [*VERSIONS, *range(POINTS)])
def test_every_edit_lasts_from_every_point_of_the_history(
    point: str | int, edit: Callable[[Edited], None], tmp_path: Path
) -> None:
    name = [*commits()][len(VERSIONS) + point] if isinstance(point, int) else point
    conflicts = updated(tmp_path, commits()[name], edit)
    print(f"{name} {edit.__name__}: {conflicts}")


@pytest.mark.weekly
@pytest.mark.parametrize(
    ("version", "framework"),
    [*((version, "pytorch") for version in VERSIONS), ("3.0.0", "scikit-learn")],
)
def test_an_updated_project_of_each_version_is_checked_tested_and_trains(
    version: str, framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter(PYTHON, framework)
    variables = {**environment(PYTHON, framework), "UV_NO_SYNC": "1"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    made = make(tmp_path, commits()[version], framework=framework)
    for edit in (own_model, own_task, edited_readme):
        edit(made)
    save(made.path)
    assert update.start(made.path)
    project = Project(made.path, PYTHON, framework, variables)
    project.inv("train")
    assert project.json("reports/metrics.json")["accuracy"] > 0.9
