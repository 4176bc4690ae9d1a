"""A project without a record gets one, and a repository from elsewhere a branch to merge."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from baking import FOLDER, ROOT, bake, git, new_folder, run_cli, template_repository
from test_hooks import post_gen

with pytest.MonkeyPatch.context() as _patch:
    _patch.syspath_prepend(ROOT / FOLDER)
    # Else it would be in projects that are generated from this folder.
    _patch.setattr(sys, "dont_write_bytecode", True)
    from workflow.template import record, rendering

ADDRESSES = [
    "https://me:pw@host/t.git",
    "https://token@host:8080/t.git",
    "git+https://me:pw@host/t.git",
    "https://host/t.zip?token=pw",
    "ssh://git:pw@host/t.git",
    "git@host:team/t.git",
    "/srv/t",
]
# What a team had before: a package, its tests, its CI, files where the template has a folder.
THEIRS = {
    "pyproject.toml": (
        '[project]\nname = "tide-models"\nversion = "1"\ndescription = "Tides, by the hour"\n'
        'authors = [{ name = "Zoë", email = "zoe@example.com" }]\nlicense = "Apache-2.0"\n'
        'dependencies = ["scikit-learn>=1.7", "pandas"]\n'
    ),
    "ReadMe.md": "# Tides\n\nOurs.\n",
    "tide_models/train.py": "print('ours')\n",
    "tests/test_ours.py": "def test_ours():\n    pass\n",
    "data": "a file, where the template has a folder\n",
    ".gitlab-ci.yml": "ours: {script: make}\n",
    ".gitignore": "*.tmp\n",
}


def link(project: Path, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `inv link` of the template."""
    done = run_cli("invoke", "link", f"--project={project}", *options, cwd=ROOT)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def files(folder: Path) -> dict[str, bytes]:
    """What Git tracks in a work tree, as it lies there."""
    names = git(folder, "ls-files", "-z").split("\0")[:-1]
    return {name: (folder / name).read_bytes() for name in names}


def test_a_project_renders_with_the_cookiecutter_of_the_templates_tests() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    (locked,) = [one["version"] for one in lock["package"] if one["name"] == "cookiecutter"]
    assert f"cookiecutter=={locked}" == rendering.COOKIECUTTER


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_hook_and_the_workflow_leave_out_the_same_secrets(address: str) -> None:
    assert post_gen.without_secret(address) == record.without_secret(address)


def test_a_project_without_a_record_is_linked_by_its_files() -> None:
    repository = template_repository()
    answers = {
        "project_slug": "tides",
        "author": 'Zoë "Z" O\'Hara',
        "license": "proprietary",
        "python_version": "3.12",
        "framework": "keras-tensorflow",
        "dvc_remote": "gcs",
        "wandb_entity": "my-team",
        "ci": "gitlab",
        "template_updates": "off",
    }
    project = bake(new_folder(), **answers).path
    answered = json.loads((project / ".cruft.json").read_bytes())["context"]["cookiecutter"]
    (project / ".cruft.json").unlink()
    printed = link(project, f"--url={repository}").stdout
    same, rendered = map(int, re.findall(r"(\d+) of its (\d+) files are unchanged", printed)[0])
    assert same == rendered == len([x for x in project.rglob("*") if x.is_file()]) - 1
    known = json.loads((project / ".cruft.json").read_bytes())
    context = known["context"]["cookiecutter"]
    private = ("_template", "_commit")
    assert {k: v for k, v in context.items() if k not in private} == {
        k: v for k, v in answered.items() if k not in private
    }
    assert known["template"] == repository.as_posix()
    assert known["commit"] == git(repository, "rev-parse", "HEAD").strip()


@pytest.mark.parametrize("prefix", ["", "models/tides"])
def test_a_repository_from_elsewhere_gets_a_branch_and_loses_nothing(prefix: str) -> None:
    repository = new_folder()
    project = repository / prefix
    for name, text in THEIRS.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text, encoding="utf-8")
    git(repository, "init", "--quiet", "--initial-branch=main")
    link(project, code=1)  # nothing is committed
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message=Ours")
    git(repository, "config", "user.name", "Ours")
    git(repository, "config", "user.email", "ours@example.com")
    (project / "untracked.txt").write_text("ours, too\n")
    before, status = files(repository), git(repository, "status", "--porcelain")

    refused = link(project, "--answer=colour=red", code=1)
    assert "--answer colour: the template asks no such question" in refused.stderr
    printed = link(project, "--answer=wandb_entity=tides").stdout
    assert files(repository) == before
    assert git(repository, "status", "--porcelain") == status
    (command,) = re.findall(r"^to merge it: git (merge template-\S+)$", printed, re.MULTILINE)
    git(repository, "commit", "--quiet", "--allow-empty", "--message=Ours, later")
    git(repository, *command.split())
    after = files(repository)
    assert {name: after[name] for name in before} == before
    assert not any(
        name.casefold().endswith("readme.md")
        for name in after.keys() - before.keys()
        if name.count("/") == prefix.count("/") + bool(prefix)
    )

    known = json.loads((project / ".cruft.json").read_bytes())
    answers = known["context"]["cookiecutter"]
    assert answers["project_slug"] == "tide-models"
    assert answers["package_name"] == "tide_models_ml"  # tide_models/ is theirs
    assert answers["description"] == "Tides, by the hour"
    assert answers["license"] == "Apache-2.0"
    assert answers["framework"] == "scikit-learn"
    assert answers["wandb_entity"] == "tides"
    assert answers["ci"] == "gitlab"
    assert {"README.md", ".gitlab-ci.yml", ".gitignore"} <= set(known["skip"])
    assert "pyproject.toml" not in known["skip"]
    assert (project / "workflow/git.py").read_bytes() == (
        ROOT / FOLDER / "workflow/git.py"
    ).read_bytes()
    assert (project / "tide_models_ml/train.py").exists()

    # What the template has of a file that is theirs.
    (shown,) = re.findall(r"^the template's: git (diff .+)$", printed, re.MULTILINE)
    assert "dvc" in git(project, *shown.replace("HEAD", "HEAD^1").split())


def test_a_folder_called_workflow_is_not_taken_over() -> None:
    project = new_folder()
    (project / "workflow").mkdir()
    (project / "workflow/ours.py").write_text("x = 1\n")
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=Ours")
    done = link(project, code=1)
    assert "has a folder workflow/, which" in done.stderr
    assert git(project, "branch", "--list", "template-*") == ""
    assert [path.name for path in (project / "workflow").iterdir()] == ["ours.py"]
