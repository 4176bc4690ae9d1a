"""The model registry of a generated project: versions and stages in its Git, aliases in W&B."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from baking import default
from driving import Project
from test_restore import run_ids
from wandb_backend import Backend

pytestmark = pytest.mark.slow

STORE = """
import sys
from pathlib import Path
from workflow.serving import sources
from workflow.serving import local
stored = sources.fetch(sys.argv[1], Path(sys.argv[2]))
(served,) = local.parse(sys.argv[1]).values()
assert served.read_bytes() == stored.file.read_bytes()
print(stored.sha256, stored.commit)
"""


@dataclass(frozen=True)
class Made:
    """A commit, the W&B run and the SHA-256 of the model that it has."""

    commit: str
    run: str
    sha256: str


@dataclass(frozen=True)
class Registry:
    """A project with two models in commits, and a third one that only an experiment has."""

    project: Project
    first: Made
    second: Made
    experiment: Made

    def copy(self, target: Path) -> Registry:
        return replace(self, project=self.project.copy(target))

    def tags(self) -> list[str]:
        return self.project.run("git", "tag").split()


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def made(project: Project, commit: str) -> Made:
    return Made(commit, run_ids(project)[-1], sha256(project.path / "models/model.onnx"))


@pytest.fixture(scope="module")
def made_once(trained_sklearn: Project, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    project = trained_sklearn.copy(tmp_path_factory.mktemp("registry"))
    first = made(project, project.commit("First"))
    project.inv("train", "--", "model.estimator.C=0.5")
    second = made(project, project.commit("Second"))
    project.inv("train", "--", "model.estimator.C=0.01")
    form = ("--sort=-committerdate", "--format=%(objectname)", "--count=1")
    experiment = made(project, project.run("git", "for-each-ref", *form, "refs/exps").strip())
    project.run("git", "reset", "--quiet", "--hard")
    project.run("dvc", "checkout", "--quiet")
    return Registry(project, first, second, experiment)


@pytest.fixture
def registry(made_once: Registry, tmp_path: Path) -> Registry:
    """A copy, to be changed by one test."""
    return made_once.copy(tmp_path)


def rows(project: Project) -> list[tuple[str, str, bool, str]]:
    """The cells of `inv model.history`, without times."""
    lines = project.inv("model.history").splitlines()[2:-1]
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    return [(stage, version, until == "now", by) for stage, version, _, _, until, by, _ in cells]


def restored(project: Project, name: str, folder: Path) -> str:
    """The SHA-256 of the model that `inv restore` brings."""
    project.inv("restore", name, f"--into={folder}")
    return sha256(folder / "models/model.onnx")


def test_promotion_demotion_and_what_is_read_after_each(registry: Registry, tmp_path: Path) -> None:
    project, first, second = registry.project, registry.first, registry.second
    printed = project.inv("model.promote", first.run, "--stage", "production")
    metrics = json.loads(project.run("git", "show", f"{first.commit}:reports/metrics.json"))
    result = f"loss {metrics['loss']:.4f}"
    assert f"model@v0.0.1 is in production: commit {first.commit[:12]}, {result}" in printed
    assert result in project.inv("model.history")
    assert "inv data.push" in printed
    assert "git push --tags" in printed
    assert "W&B was not updated: tracking is offline" in printed
    assert restored(project, "model", tmp_path / "one") == first.sha256

    project.inv("model.promote", "HEAD")
    assert registry.tags() == [
        *("model#production#1", "model#production#2", "model@v0.0.1", "model@v0.0.2"),
    ]
    assert project.run("git", "rev-parse", "model@v0.0.2^{commit}").strip() == second.commit
    assert restored(project, "model#production", tmp_path / "two") == second.sha256
    assert restored(project, "model@v0.0.1", tmp_path / "three") == first.sha256

    printed = project.inv("model.demote", "--stage=production")
    assert "model@v0.0.2 is no longer in production; model@v0.0.1 is" in printed
    assert restored(project, "model", tmp_path / "four") == first.sha256
    assert rows(project) == [
        ("production", "v0.0.1", True, default("author")),
        ("production", "v0.0.2", False, default("author")),
        ("production", "v0.0.1", False, default("author")),
    ]

    printed = project.inv("model.promote", "model@v0.0.2", "--stage=staging")
    assert "model@v0.0.2 is in staging" in printed
    project.inv("model.promote", "model#staging", "--stage=production")
    assert "v0.0.2 is no longer" in project.inv("model.demote")
    assert "v0.0.1 is no longer in production; no version is" in project.inv("model.demote")
    assert project.inv("model.demote", code=1).splitlines()[-1] == (
        "model: no version is in production: inv model.history"
    )
    assert "no version is in production" in project.inv("restore", "model", code=1)
    assert project.run("git", "status", "--porcelain") == ""


def test_what_is_in_the_stage_already_changes_nothing(registry: Registry) -> None:
    registry.project.inv("model.promote", registry.first.commit)
    before = registry.project.run("git", "for-each-ref")
    for name in (registry.first.run, "model@v0.0.1", "HEAD~1"):
        printed = registry.project.inv("model.promote", name)
        assert "model@v0.0.1 is in production already" in printed
    assert registry.project.run("git", "for-each-ref") == before


def test_a_version_that_was_replaced_comes_back(registry: Registry, tmp_path: Path) -> None:
    for name in ("HEAD~1", "HEAD", "model@v0.0.1"):
        registry.project.inv("model.promote", name)
    shown = [version for _, version, _, _ in rows(registry.project)]
    assert shown == ["v0.0.1", "v0.0.2", "v0.0.1"]
    assert restored(registry.project, "model", tmp_path / "restored") == registry.first.sha256


@pytest.mark.parametrize("by", ["run", "name"])
def test_an_experiment_outlives_its_removal(by: str, registry: Registry, tmp_path: Path) -> None:
    project, experiment = registry.project, registry.experiment
    listed = project.run("git", "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps")
    (name,) = re.findall(rf"{experiment.commit} refs/exps/.*/(\S+)", listed)
    project.inv("model.promote", experiment.run if by == "run" else name)
    project.run("dvc", "exp", "remove", "--all-commits")
    project.run("git", "reflog", "expire", "--expire=now", "--all")
    project.run("git", "gc", "--quiet", "--prune=now")
    assert restored(project, "model", tmp_path / "restored") == experiment.sha256


def test_serving_and_deployment_read_a_stage(registry: Registry, tmp_path: Path) -> None:
    project = registry.project
    project.inv("model.promote", "HEAD~1")
    project.inv("model.promote", "HEAD", "--stage=staging")
    for source, expected in [
        ("model", registry.first),
        ("model#production", registry.first),
        ("model#staging", registry.second),
        ("model@v0.0.2", registry.second),
    ]:
        command = ("python", "-c", STORE, f"digits={source}", str(tmp_path / "models"))
        assert project.run(*command).split() == [expected.sha256, expected.commit]


def test_another_clone_reads_what_was_shared(registry: Registry, tmp_path: Path) -> None:
    project = registry.project
    project.inv("model.promote", "HEAD~1")
    assert "files of registered versions sent" in project.inv("data.push")
    assert "files of registered versions sent" not in project.inv("data.push")
    assert "in this cache only" not in project.inv("model.promote", "HEAD~1")
    project.run("git", "init", "--quiet", "--bare", str(tmp_path / "origin"))
    project.run("git", "push", "--quiet", "--no-verify", "--tags", str(tmp_path / "origin"), "main")
    (tmp_path / "clones").mkdir()
    clone = tmp_path / "clones" / project.path.name
    project.run("git", "clone", "--quiet", "--branch=main", str(tmp_path / "origin"), str(clone))
    shutil.copytree(
        project.path.with_name(f"{project.path.name}-storage"),
        clone.with_name(f"{clone.name}-storage"),
    )
    other = replace(project, path=clone)
    assert [version for _, version, _, _ in rows(other)] == ["v0.0.1"]
    assert restored(other, "model", tmp_path / "restored") == registry.first.sha256


def test_wandb_calls_the_models_by_their_stages(registry: Registry, tmp_path: Path) -> None:
    project, name = registry.project, registry.project.path.name
    with Backend(tmp_path / "server") as backend:
        server = {"WANDB_BASE_URL": backend.url, "WANDB_API_KEY": backend.api_key}
        early = project.inv("model.promote", "HEAD~1", variables=server)
        assert "W&B was not updated: " in early
        project.inv("wandb.sync", variables=server)
        for made_offline in project.path.glob("wandb/offline-run-*"):
            shutil.rmtree(made_offline)

        def called(alias: str) -> str | None:
            return backend.artifact(name, f"model:{alias}").run

        project.inv("model.promote", "HEAD~1", variables=server)
        assert called("production") == called("v0.0.1") == registry.first.run
        second = f"me/{name}/{registry.second.run}"
        printed = project.inv("model.promote", second, variables=server)
        assert f"W&B: me/{name}/model:" in printed
        assert called("production") == called("v0.0.2") == registry.second.run
        assert called("v0.0.1") == registry.first.run
        project.inv("model.demote", variables=server)
        assert called("production") == registry.first.run
        project.inv("model.demote", variables=server)
        with pytest.raises(KeyError):
            called("production")
        assert called("v0.0.2") == registry.second.run
        nobody = {**server, "WANDB_BASE_URL": "http://127.0.0.1:9"}
        printed = project.inv("model.promote", "HEAD", variables=nobody)
        assert "W&B was not updated: http://127.0.0.1:9 can't be reached" in printed
        assert "model#production#5" in registry.tags()
        offline = {**server, "WANDB_MODE": "offline"}
        printed = project.inv("model.promote", "HEAD~1", variables=offline)
        assert "W&B was not updated: tracking is offline" in printed


FAULTS = {
    "unknown": ("nothing", "no run 'nothing'"),
    "stage": ("HEAD --stage=a/b", "'a/b' is not a name for a stage"),
    "no model": ("HEAD~2", "has no models/model.onnx: inv train, and commit"),
    "not committed": ("", "no commit has its model: commit what the run made"),
    "lost": ("HEAD", "is neither in the cache nor in the remote: inv data.push"),
    "nobody": ("HEAD", "Git does not know who you are: git config user.name"),
    "version": ("model@v9.9.9", "there is no such version: inv model.history"),
    "not allowed": ("HEAD --stage=other", "Allowed stages are"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_one_line_and_makes_no_tag(fault: str, registry: Registry) -> None:
    project = registry.project
    typed, reason = FAULTS[fault]
    variables = {}
    if fault == "not committed":
        typed = registry.second.run
        project.run("git", "reset", "--quiet", "--hard", "HEAD~1")
        project.run("dvc", "exp", "remove", "--all-commits")
    elif fault == "lost":
        shutil.rmtree(project.path / ".dvc/cache")
    elif fault == "nobody":
        for key in ("user.name", "user.email"):
            project.run("git", "config", "--unset", key)
        variables = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    elif fault == "not allowed":
        (project.path / ".gto").write_text("stages: [production, staging]\n")
    before = project.run("git", "for-each-ref")
    printed = project.inv("model.promote", *typed.split(), code=1, variables=variables)
    command, line = printed.splitlines()
    assert command.startswith("$ python -m workflow.runs.promoting promote")
    assert line.startswith("model: ")
    assert reason in line
    assert project.run("git", "for-each-ref") == before


def test_a_project_without_a_version_says_what_to_type(made_once: Registry) -> None:
    printed = made_once.project.inv("model.history")
    assert "no version was in any stage: inv model.promote" in printed
