"""A project of version 0.2.0, with edits of its own, is carried over to 1.0.0: docs/updating.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from baking import ROOT, git, run_cli

pytestmark = pytest.mark.slow
SCRIPT = ROOT / "migrations" / "two_houses.py"
PACKAGE = "my_ml_project"

NEW_FILES = {
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
    "conf/model/tiny.yaml": f"""
_target_: {PACKAGE}.model.Tiny
image_shape: ${{data.image_shape}}
classes: ${{data.classes}}
hidden: [8]
dropout: 0.1
""",
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
EDITS = [
    ("conf/trainer/cpu.yaml", "max_epochs: 20", "max_epochs: 7"),
    ("conf/config.yaml", "  - model: cnn", "  - model: tiny"),
    ("conf/callbacks/default.yaml", "  - throughput\n", "  - note\n"),
    (
        f"{PACKAGE}/model.py",
        "class CNN(nn.Module):",
        'class Tiny(MLP):\n    """Ours."""\n\n\nclass CNN(nn.Module):',
    ),
    (
        f"{PACKAGE}/serving/service.py",
        "from .settings import Settings\n",
        "from .settings import Settings\nfrom ..ours import LIMIT\n",
    ),
    (f"{PACKAGE}/serving/service.py", '{"live": True}', '{"live": True, "limit": LIMIT}'),
    (f"{PACKAGE}/doctor.py", "def main(", "OURS = True\n\n\ndef main("),
    (
        "pyproject.toml",
        '    "python-dotenv>=1.1",\n',
        '    "polars>=1",\n    "python-dotenv>=1.1",\n',
    ),
    ("README.md", "## Every day\n", "Ask Zoe first.\n\n## Every day\n"),
]


# Imports every module, but for what runs when it is imported, or has an environment of its own.
IMPORT_ALL = """
import importlib, pathlib
for package in ("workflow", "my_ml_project"):
    for path in sorted(pathlib.Path(package).rglob("*.py")):
        if path.name not in ("__main__.py", "drift.py"):
            importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
"""
COMPOSE_ALL = """
import pathlib
from workflow.config.compose import compose
print(compose().trainer.max_epochs)
for path in pathlib.Path("conf").glob("*/*.yaml"):
    compose([f"{path.parent.name}={path.stem}"])
"""


def versions() -> dict[str, str]:
    """The commits of two versions: the last of 0.2.0, and the move."""
    name = "cookiecutter.json"
    changed = git(ROOT, "log", "--reverse", "--format=%H", '-S"__version": "1.0.0"', "--", name)
    assert changed, "the template's history is not here: git fetch --unshallow"
    move, *_ = changed.split()
    found = {"0.2.0": git(ROOT, "rev-parse", f"{move}^").strip(), "1.0.0": move}
    for version, commit in found.items():
        assert json.loads(git(ROOT, "show", f"{commit}:{name}"))["__version"] == version
    return found


def commit(project: Path) -> None:
    git(project, "add", "--all", "--force")
    git(project, "commit", "--quiet", "--message=One more step")


def test_an_edited_project_is_carried_over(tmp_path: Path, project_python: Path) -> None:
    template = tmp_path / "template"
    git(ROOT, "clone", "--quiet", str(ROOT), str(template))
    old, new = versions().values()
    create = ("create", "--no-input", "--checkout", old, str(template))
    run_cli("cruft", *create, cwd=tmp_path).check_returncode()
    project = tmp_path / "my-ml-project"
    git(project, "init", "--quiet")
    commit(project)
    for name, text, replacement in EDITS:
        content = (project / name).read_text("utf-8")
        assert text in content, name
        (project / name).write_text(content.replace(text, replacement, 1), encoding="utf-8")
    for name, content in NEW_FILES.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(content.lstrip(), encoding="utf-8")
    commit(project)

    updated = run_cli("cruft", "update", "--skip-apply-ask", "--checkout", new, cwd=project)
    assert updated.returncode == 0, updated.stdout + updated.stderr
    assert list(project.rglob("*.rej")) == []
    assert json.loads((project / ".cruft.json").read_text())["commit"] == new
    commit(project)

    def script(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), PACKAGE, *arguments]
        return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)

    assert script("--check").returncode == 1
    assert script().stdout.splitlines() == [
        f"{PACKAGE}/tracking/note.py: renamed what moved",
        "scripts/ours.sh: renamed what moved",
        "tests/test_ours.py: renamed what moved",
        "workflow/serving/service.py: renamed what moved",
        "4 files changed",
    ]
    assert script("--check").returncode == 0

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [str(project_python), *arguments],
            cwd=project,
            env={name: text for name, text in os.environ.items() if name != "PYTHONPATH"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    python("-c", IMPORT_ALL)
    assert python("-c", COMPOSE_ALL) == "7\n"
    python("-m", "pytest", "-q", "tests/test_ours.py")
    # Each edit is there: in its file, or in the one that it moved to.
    for name, _, written in EDITS:
        at = name.removeprefix(f"{PACKAGE}/") if "serving" in name or "doctor" in name else name
        path = project / "workflow" / at if at != name else project / name
        assert written.replace("from ..ours", f"from {PACKAGE}.ours") in path.read_text("utf-8")
    assert (project / "scripts/ours.sh").read_text("utf-8").splitlines() == [
        "python -m workflow.runs.experiments",
        f"wc -l {PACKAGE}/tracking/note.py",
    ]
