"""Two projects in one repository: each belongs to it, and neither knows of the other."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from baking import bake, git
from driving import Project, stages_run

pytestmark = pytest.mark.slow
FRAMEWORK = "scikit-learn"


@dataclass(frozen=True)
class Two:
    """A repository with a file of somebody else's that is not committed, and two projects."""

    top: Path
    churn: Project
    prices: Project  # a floor deeper


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    top = tmp_path_factory.mktemp("monorepo") / "shop"
    (top / "models").mkdir(parents=True)
    git(top, "init", "--quiet", "--initial-branch=main")
    (top / "README.md").write_text("shop\n")
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message=Start")
    (top / "others.txt").write_text("not committed\n")
    (top / ".gitignore").write_text("others.log\n")
    git(top, "add", ".gitignore")
    projects = {}
    for folder, name, ci in ((top, "churn", "github"), (top / "models", "prices", "gitlab")):
        path = bake(folder, project_name=name, framework=FRAMEWORK, ci=ci).path
        projects[name] = Project(path, framework=FRAMEWORK)
    repository = Two(top, **projects)
    assert "as one of its folders: inv setup --subfolder" in repository.churn.inv("setup", code=1)
    assert "not a Git repository yet: inv setup" in repository.churn.inv("train", code=1)
    for project in (repository.churn, repository.prices):
        printed = project.inv("setup", "--subfolder")
        assert printed.endswith("ready: inv train\n")
        assert "churn: ruff check" in printed, "the hooks of the top run"
    return repository


def commit(project: Project, message: str) -> str:
    """Commit all of a project, by its hooks too."""
    project.run("git", "add", "--all", ".")
    project.run("git", "commit", "--quiet", "--message", message, "--", ".")
    return project.run("git", "rev-parse", "HEAD").strip()


def test_a_project_joins_the_repository_around_it(two: Two) -> None:
    assert not list(two.top.glob("*/.git")) + list(two.top.glob("*/*/.git"))
    # What others have changed, staged or not, is theirs.
    assert git(two.top, "status", "--porcelain").split("\n")[:-1] == [
        "A  .gitignore",
        "?? others.txt",
    ]

    before = {path: path.read_bytes() for path in two.top.glob(".*") if path.is_file()}
    printed = two.prices.inv("setup")
    assert "written" not in printed
    assert {path: path.read_bytes() for path in before} == before


def test_ci_at_the_top_runs_what_changed_in_its_folder(two: Two) -> None:
    workflow = yaml.safe_load((two.top / ".github/workflows/churn.yml").read_text("utf-8"))
    assert ".github/workflows/churn-update.yml" in git(two.top, "ls-files").split()
    paths = ["churn/**", ".github/workflows/churn.yml"]
    assert workflow[True] == {  # YAML 1.1 reads `on` so
        "push": {"branches": ["main"], "paths": paths},
        "pull_request": {"paths": paths},
    }
    assert workflow["defaults"]["run"]["working-directory"] == "churn"
    used = [step for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    given = [line for step in used for line in step.get("with", {}).get("path", "").split()]
    assert given
    assert all(path.startswith("churn/") for path in given)

    top = yaml.safe_load((two.top / ".gitlab-ci.yml").read_text("utf-8"))
    job = top["models-prices"]
    assert job["trigger"]["include"] == "models/prices/.gitlab-ci.yml"
    assert job["rules"][0]["changes"] == ["models/prices/**/*"]
    child = yaml.safe_load((two.top / job["trigger"]["include"]).read_text("utf-8"))
    assert child["default"]["before_script"][0] == "cd models/prices"
    assert child["pipeline"]["artifacts"]["paths"][0] == "models/prices/reports/"


def test_a_hook_looks_at_its_own_project_alone(two: Two) -> None:
    path = two.churn.path / "churn/ours.py"
    path.write_text("import os\n")
    two.churn.run("git", "add", ".")
    printed = two.churn.run("git", "commit", "--message=Unused", "--", ".", code=1)
    assert "churn/ours.py:1:8" in printed or "ruff check" in printed
    assert re.search(r"models-prices: ruff check\.+\(no files to check\)Skipped", printed)
    two.churn.run("git", "rm", "--quiet", "--force", "churn/ours.py")


@pytest.mark.weekly
def test_both_train_are_registered_compared_restored_and_cloned(two: Two, tmp_path: Path) -> None:
    first = {}
    for name, project in (("churn", two.churn), ("prices", two.prices)):
        project.inv("train")
        first[name] = commit(project, f"{name} is trained")
        project.inv("data.push")
        assert project.path.joinpath("runs/train/metrics.json").exists()
    (recorded,) = [run for run in two.prices.runs() if run["config"]]
    assert recorded["config"]["provenance"]["git"]["dirty"] is False

    for project in (two.churn, two.prices):
        assert "model@v0.0.1 is in production" in project.inv("model.promote", "HEAD")
    assert sorted(git(two.top, "tag").split()) == [
        "churn=model#production#1",
        "churn=model@v0.0.1",
        "models/prices=model#production#1",
        "models/prices=model@v0.0.1",
    ]
    history = two.churn.inv("model.history")
    assert history.count("v0.0.1") == 1
    assert first["prices"][:12] in history  # HEAD when it was promoted

    # An experiment, then a change of the code that no commit has.
    two.churn.inv("exp.queue", "--", "model.estimator.C=0.01,0.1")
    printed = two.churn.inv("exp.run")
    assert "2 of 2 succeeded" in printed
    assert "C=0.01" in two.churn.inv("compare")
    model = two.churn.path / "churn/model.py"
    model.write_text(model.read_text("utf-8") + "\nOURS = 1\n", "utf-8")
    printed = two.churn.inv("train", "--", "seed=3")
    assert "train" in stages_run(printed)
    run = sorted((two.churn.path / "wandb").glob("offline-run-*"))[-1].name.rpartition("-")[2]
    (patch,) = two.churn.path.glob(f"wandb/offline-run-*-{run}/files/code.patch")
    changed = re.findall(r"^diff --git a/(\S+)", patch.read_text("utf-8"), re.MULTILINE)
    assert "churn/churn/model.py" in changed
    assert all(name.startswith("churn/") for name in changed), "others.txt is not its"

    page = two.churn.inv("compare", "--base", "HEAD", "--markdown")
    assert page.startswith("### What this changes in churn, against HEAD (")
    assert "| `seed` | `0` | `3` |" in page

    printed = two.churn.inv("reproduce", run)
    assert re.search(r"^all \d+ identical$", printed, re.MULTILINE)
    restored = two.top.parent / "churn-restored" / run
    assert (restored / "churn/churn/model.py").read_text("utf-8").endswith("\nOURS = 1\n")
    printed = two.prices.inv("restore", "model")
    assert f"restored: {two.top.parent / 'prices-restored'}" in printed
    prices = next((two.top.parent / "prices-restored").iterdir())
    assert (prices / "models/prices/models/model.onnx").exists()

    # A clone, with the storages beside it.
    git(tmp_path, "clone", "--quiet", str(two.top), "elsewhere/shop")
    for name, project in (("churn-storage", two.churn), ("prices-storage", two.prices)):
        storage = two.top.parent / name
        assert storage.exists(), "beside the repository, not in it"
        shutil.copytree(storage, tmp_path / "elsewhere" / name)
        path = tmp_path / "elsewhere/shop" / project.path.relative_to(two.top)
        clone = Project(path, framework=FRAMEWORK)
        clone.inv("data.pull")
        assert stages_run(clone.inv("train")) == []
        assert json.loads((path / "reports/metrics.json").read_text())["accuracy"] > 0.9
