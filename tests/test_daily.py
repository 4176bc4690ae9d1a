"""A day with the tasks: each ends with what came out, or with the command that follows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from driving import Project

pytestmark = pytest.mark.slow

# What the tools say in the end, and what a user of `inv` cannot use.
RAW = [
    "Use `dvc push`",
    "dvc exp apply <exp>",
    "To track the changes with git",
    "To enable auto staging",
    "Data and pipelines are up to date",
    "Ran experiment(s)",
    "Loaded credentials",
    "wandb login",
    "wandb sync",
    "Tip:",
    "Everything is up to date.",
    "Checkout failed",
    "have been applied to your current workspace",
]
OTHER = "model.estimator.C=0.01"


def test_each_task_ends_with_what_came_out_and_what_follows(
    trained_sklearn: Project, tmp_path: Path
) -> None:
    project = trained_sklearn.copy(tmp_path)
    project.commit("Trained")
    own = tmp_path / "notes.txt"
    own.write_text("notes")

    def last(*typed: str, code: int = 0) -> str:
        printed = project.inv(*typed, code=code)
        assert [text for text in RAW if text in printed] == [], printed
        *_, line = printed.splitlines()
        return line

    metrics = project.json("reports/metrics.json")
    again = project.inv("train")
    assert "up to date: nothing changed since 20" in again
    assert f"test: accuracy {metrics['accuracy']:.4f}, loss {metrics['loss']:.4f}" in again
    assert "training: LogisticRegression" in again
    assert f"run: {project.runs()[-1]['run_id']}, kept in wandb/ (inv wandb.sync" in again

    follow = "next: inv report, inv compare"
    assert last("train") == last("evaluate") == follow
    assert last("train", "--", "model.estimator.C=0.5") == follow
    assert last("exp.queue", "--", OTHER) == "next: inv exp.run"
    assert re.search("inv exp.apply", last("exp.run"))
    shown = project.inv("compare")
    (name,) = re.findall(rf"^ +(\S+-\S+) +{OTHER}", shown, re.MULTILINE)
    assert shown.splitlines()[-1] == "next: inv exp.apply NAME, inv report"
    project.run("git", "restore", ".")
    assert f"{name} is applied" in last("exp.apply", name)
    assert last("report") == "next: inv report --show, inv serve"
    assert last("data.add", str(own)) == "next: git commit, inv data.push"
    assert last("data.status") == "next: inv data.push"
    assert "inv data.pull" in last("data.push")
    assert last("data.status") == "next: inv train"
    assert last("data.pull") == "next: inv train"
    assert "inv serve" in last("model.promote", "HEAD")
    assert "inv restore" in last("model.history")
    assert "inv model.history" in last("model.demote")
    restored = tmp_path / "restored"
    assert last("restore", "HEAD", f"--into={restored}").startswith("next: inv reproduce HEAD")
    assert last("doctor") == "all is well: inv train"

    # What cannot be fetched is one line, and the files here stay.
    shutil.rmtree(project.path / ".dvc/cache")
    shutil.rmtree(project.path.with_name(f"{project.path.name}-storage"))
    line = last("data.pull", code=1)
    assert re.match(r"pull: .* not here, and the remote storage, .*, does not exist", line)
    assert (project.path / "data/notes.txt").read_text() == "notes"
    assert "fix" in last("doctor", code=1)


def test_the_report_is_headed_by_the_name_of_the_project(
    trained_sklearn: Project, tmp_path: Path
) -> None:
    project = trained_sklearn.copy(tmp_path)
    project.inv("report")
    assert "<h1>My ML Project</h1>" in (project.path / "reports/report.html").read_text()
