"""Versions and stages of the model: what Git's tags say, as gto itself reads them."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from gto import api
from workflow.errors import CommandError
from workflow.paths import MODEL
from workflow.registry import promotion, versions
from workflow.registry.versions import named
from workflow.serving import sources

REGISTERED = ["model@v0.0.1 0", "model@v0.0.2 1", "model@v0.0.3 2"]


def git(*arguments: str, **variables: str) -> str:
    who = {f"GIT_{role}_EMAIL": "me@localhost" for role in ("AUTHOR", "COMMITTER")}
    names = {name.replace("EMAIL", "NAME"): "me" for name in who}
    return subprocess.run(
        ["git", *arguments],
        env={**os.environ, **who, **names, **variables},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.fixture
def commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three commits of a new repository, which is current."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    git("init", "--quiet")
    for number in range(3):
        git("commit", "--quiet", "--allow-empty", "--message", str(number))
    return git("log", "--reverse", "--format=%H").split()


def tag(commits: list[str], *tags: str) -> None:
    """Make tags, each "NAME NUMBER-OF-COMMIT", a minute apart."""
    for minute, (name, number) in enumerate(written.split() for written in tags):
        date = f"2026-01-01T00:{minute:02}:00+00:00"
        options = ("tag", "--annotate", "--message", name, name, commits[int(number)])
        git(*options, GIT_COMMITTER_DATE=date)


STORIES = {
    "one": (["model#production#1 0"], ["v0.0.1"]),
    "replaced": (["model#production#1 0", "model#production#2 1"], ["v0.0.1", "v0.0.2"]),
    "demoted": (
        ["model#production#1 0", "model#production#2 1", "model#production!#3 1"],
        ["v0.0.1", "v0.0.2", "v0.0.1"],
    ),
    "back": (
        ["model#production#1 1", "model#production#2 0", "model#production#3 1"],
        ["v0.0.2", "v0.0.1", "v0.0.2"],
    ),
    "back and demoted": (
        [*(f"model#production#{n + 1} {n % 2}" for n in range(3)), "model#production!#4 0"],
        ["v0.0.1", "v0.0.2", "v0.0.1", "v0.0.2"],
    ),
    "the earlier one demoted": (
        ["model#production#1 0", "model#production#2 1", "model#production!#3 0"],
        ["v0.0.1", "v0.0.2"],
    ),
    "no more a version": (
        ["model#production#1 0", "model#production#2 1", "model@v0.0.2! 1"],
        ["v0.0.1", "v0.0.2", "v0.0.1"],
    ),
    "another stage": (["model#production#1 0", "model#staging#2 1"], ["v0.0.1"]),
    "more than nine": (
        [f"model#production#{n + 1} {n % 3}" for n in range(11)],
        [f"v0.0.{n % 3 + 1}" for n in range(11)],
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_who_was_in_production(story: str, commits: list[str]) -> None:
    tags, expected = STORIES[story]
    tag(commits, *REGISTERED, *tags)
    periods = [p for p in versions.history() if p.stage == "production"][::-1]
    assert [period.version.name for period in periods] == expected
    assert [period.until for period in periods] == [*(p.since for p in periods[1:]), None]
    assert {period.by for period in periods} == {"me"}
    (by_gto,) = api.show(".", "model#production")
    now = versions.in_stage("production")
    assert now == named("model") == named("model#production")
    assert now is not None
    assert (now.name, now.commit) == (by_gto["version"], by_gto["commit_hexsha"])


def test_a_stage_is_left_empty(commits: list[str]) -> None:
    tag(commits, *REGISTERED, "model#production#1 0", "model#production!#2 0")
    (period,) = versions.history()
    assert period.until is not None
    assert versions.in_stage("production") is None


def test_tags_of_one_second_are_in_the_order_of_their_numbers(commits: list[str]) -> None:
    for name, number in [("model@v0.0.1", 0), ("model@v0.0.2", 1)]:
        git("tag", "--annotate", "--message", name, name, commits[number])
    for n in range(1, 12):
        name = f"model#production#{n}"
        date = {"GIT_COMMITTER_DATE": "2030-01-01T00:00:00+00:00"}
        git("tag", "--annotate", "--message", name, name, commits[n % 2], **date)
    assert str(versions.in_stage("production")) == "model@v0.0.2"


def test_a_version_is_named_as_gto_names_it(commits: list[str]) -> None:
    tag(commits, *REGISTERED, "model#staging#1 1")
    for written, number in [("model@v0.0.3", 2), ("model#staging", 1)]:
        version = named(written)
        assert version is not None
        assert version.commit == commits[number]
        assert sources.split_path(written) == (MODEL, commits[number])
    for other in ("models", "model.onnx", "model#staging#1", "model#sha256=0a1b", "model@x"):
        assert named(other) is None


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("model", "no version is in production: inv model.promote"),
        ("model#staging", "no version is in staging: inv model.promote"),
        ("model@v9.9.9", "there is no such version: inv model.history"),
    ],
)
def test_what_is_not_there_is_one_line(written: str, reason: str, commits: list[str]) -> None:
    tag(commits, *REGISTERED)
    with pytest.raises(CommandError, match=f"^{re.escape(written)}: {reason}") as raised:
        named(written)
    assert "\n" not in str(raised.value)
    with pytest.raises(CommandError, match=reason):
        sources.fetch(f"digits={written}", Path("models"))
    assert not Path("models").exists()


def test_tags_that_are_no_versions_do_not_count(commits: list[str]) -> None:
    git("tag", "model@v0.0.1")  # without a tagger
    tag(commits, "other@v0.0.1 0", "other#production#1 0", "v1.0 0")
    assert versions.registered() == []
    assert versions.history() == []


def test_outside_of_git_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with pytest.raises(CommandError, match="not a Git repository yet: inv setup"):
        versions.history()


@pytest.mark.parametrize("stage", ["", "-a", "a b", "a/b", "a:b", "a#1", "ä"])
def test_a_stage_has_a_name_that_git_and_wandb_take(stage: str) -> None:
    with pytest.raises(CommandError, match="is not a name for a stage"):
        promotion.promote("HEAD", "0" * 32, stage)
