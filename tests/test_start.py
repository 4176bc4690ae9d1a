"""A generated project's trainings that begin with a past run: by Git, DVC and W&B."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml
from driving import Project
from wandb_backend import Backend

pytestmark = pytest.mark.slow

SHORT = "trainer.max_epochs=2"


@pytest.fixture(scope="module")
def past(begun: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with one committed training, on the branch `main`."""
    project = begun.copy(tmp_path_factory.mktemp("past"))
    project.inv("train", "--", SHORT)
    project.commit("Two epochs")
    project.run("git", "branch", "--move", "--force", "main")
    return project


def started_from(project: Project) -> dict[str, str]:
    """What the provenance of the last training says that it began with."""
    *_, provenance = (run["config"]["provenance"] for run in project.runs() if run["config"])
    return provenance.get("resumed_from") or provenance["initialized_from"]


def run_id(project: Project) -> str:
    return project.runs()[-1]["run_id"]


def test_a_branch_is_resumed_committed_and_reproduced(past: Project, tmp_path: Path) -> None:
    project = past.copy(tmp_path)
    first, started = run_id(project), project.run("git", "rev-parse", "main").strip()
    printed = project.inv("train", "--", "train.resume=main", "trainer.max_epochs=4")
    assert re.findall(r"^epoch (\d)/4", printed, re.MULTILINE) == ["3", "4"]
    assert project.json("runs/train/metrics.json")["epochs"] == 4
    assert run_id(project) != first
    assert started_from(project)["run"] == first
    params = yaml.safe_load((project.path / "params.yaml").read_text("utf-8"))
    others = {"init_from": None, "checkpoint_minutes": 10}
    assert params["train"] == {"resume": f"main@{started}", **others}

    # `main` is another commit from here on.
    project.commit("Four epochs")
    assert "up to date" in project.inv("train")
    assert re.search(r"^all \d+ identical$", project.inv("reproduce", "HEAD"), re.MULTILINE)


def test_an_experiment_is_fine_tuned_in_the_queue(past: Project, tmp_path: Path) -> None:
    project = past.copy(tmp_path)
    (name,) = project.run("dvc", "exp", "list", "--all-commits", "--name-only").split()
    for folder in ("models", "runs/train", ".dvc/cache"):
        shutil.rmtree(project.path / folder)
    project.run("git", "restore", ".")
    refused = project.inv("exp.queue", "--", f"train.init_from={name}", code=1)
    assert "is neither in the cache nor in the remote" in refused.splitlines()[-1]

    project = past.copy(tmp_path / "pushed")
    project.inv("data.push")
    shutil.rmtree(project.path / ".dvc/cache")
    project.inv("exp.queue", "--", f"train.init_from={name}", "optimizer.lr=1e-4", SHORT)
    project.inv("exp.run")
    shown = project.run("dvc", "exp", "show", "--csv")
    assert re.search(rf",{name}@[0-9a-f]{{40}}[,\r\n]", shown), shown
    assert started_from(project)["run"] == past.runs()[0]["run_id"]


@pytest.mark.weekly  # each change reproduces the run that resumed a branch
def test_a_fine_tuned_run_is_reproduced(past: Project, tmp_path: Path) -> None:
    project = past.copy(tmp_path)
    start = f"train.init_from={run_id(project)}"
    project.inv("train", "--", start, "optimizer.lr=1e-4", SHORT)
    printed = project.inv("reproduce", run_id(project))
    assert re.search(r"^all \d+ identical$", printed, re.MULTILINE)


@pytest.mark.weekly  # each change restores a run of the server in test_restore.py
def test_a_run_of_wandb_is_fine_tuned(past: Project, tmp_path: Path) -> None:
    project = past.copy(tmp_path)
    first = run_id(project)
    stage = ("python", "-m", "my_ml_project.train", "trainer.max_epochs=1")
    project.run(*stage, f"train.init_from={first}", "optimizer.lr=1e-4")
    expected = started_from(project)
    assert expected["run"] == first

    with Backend(tmp_path / "server") as backend:
        server = {"WANDB_BASE_URL": backend.url, "WANDB_API_KEY": backend.api_key}
        project.inv("wandb.sync", variables=server)
        path = f"me/{project.path.name}/{first}"
        offline = {**server, "WANDB_MODE": "offline"}
        start = f"train.init_from={path}"
        project.run(*stage, start, variables=offline)
        unknown = project.inv("train", "--", f"{start}x", code=1, variables=offline)
        assert f"train.init_from: {path}x" in unknown.splitlines()[-1]
    assert started_from(project) == {**expected, "name": path}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["train.resume=mian"], "train.resume: no run 'mian'"),
        (["train.resume=HEAD~1"], """quote it: 'train.resume="HEAD~1"'"""),
        (['train.resume="HEAD~1"'], "has no runs/train/model.ckpt: nothing was trained in it"),
        (["train.resume=main", SHORT], "leaves none to train"),
        (["train.init_from=main", "model=mlp"], "train.init_from: main has"),
        (["train.init_from=main", "train.resume=main"], "leave one out"),
    ],
)
def test_what_cannot_be_started_from_is_one_line_and_changes_nothing(
    past: Project, overrides: list[str], expected: str
) -> None:
    before = past.run("git", "status", "--porcelain")
    printed = past.inv("train", "--", *overrides, code=1)
    _, line = printed.splitlines()
    assert line.startswith("config: train.")
    assert expected in line
    assert past.run("git", "status", "--porcelain") == before
    assert "up to date" in past.inv("train")


def test_a_file_that_git_does_not_know_is_a_start(past: Project, tmp_path: Path) -> None:
    project = past.copy(tmp_path)
    own = project.path / "runs/train/model.ckpt"
    longer = "trainer.max_epochs=3"
    printed = project.inv("train", "--", f"train.resume={own}", longer, code=1)
    assert "is removed before it is written again: name its run" in printed.splitlines()[-1]
    assert own.exists()
    shutil.copy(own, project.path / "kept.ckpt")
    stage = ("python", "-m", "my_ml_project.train", "hydra.run.dir=outputs/longer")
    printed = project.run(*stage, "train.resume=kept.ckpt", longer)
    assert re.findall(r"^epoch (\d)/3", printed, re.MULTILINE) == ["3"]
    assert started_from(project)["run"] == past.runs()[0]["run_id"]
