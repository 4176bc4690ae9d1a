"""Two people who promote: two clones of one repository, and the remote that they push to."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from gto import api
from workflow import doctor
from workflow.errors import CommandError
from workflow.registry import sharing, versions
from workflow.runs import promoting

PIPELINE = {
    "stages": {
        "export": {
            "cmd": f"{sys.executable} export.py",
            "deps": ["export.py"],
            "outs": ["models/model.onnx"],
        }
    }
}
EXPORT = "open('models/model.onnx', 'w').write('model of {}')\n"
ROLES = ("AUTHOR", "COMMITTER")


def git(*arguments: str, folder: Path | None = None) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare repository and the clones of Ann and Bob, each with a model of their own in HEAD."""
    folder = tmp_path_factory.mktemp("sharing")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("DVC_", "GIT_"))]:
            patch.delenv(name)
        git("init", "--quiet", "--bare", "--initial-branch=main", str(folder / "origin"))
        git("clone", "--quiet", str(folder / "origin"), str(folder / "ann"))
        begin(folder / "ann", "Ann", patch)
        git("checkout", "--quiet", "-b", "main")
        Repo.init().close()
        Path("models").mkdir()
        Path(".gitignore").write_text("/models\n")
        Path("dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
        made("both")
        git("push", "--quiet", "origin", "main")
        git("clone", "--quiet", str(folder / "origin"), str(folder / "bob"))
        made("Ann")
        begin(folder / "bob", "Bob", patch)
        shutil.copytree(folder / "ann/.dvc/cache", ".dvc/cache")
        Path("models").mkdir()
        made("Bob")
    return folder


def begin(folder: Path, who: str, patch: pytest.MonkeyPatch) -> None:
    """Work in a clone, as somebody."""
    patch.chdir(folder)
    patch.setenv("DVC_ROOT", str(folder))
    for role in ROLES:
        patch.setenv(f"GIT_{role}_NAME", who)
        patch.setenv(f"GIT_{role}_EMAIL", f"{who}@localhost")


def made(by: str) -> None:
    """Train a model, and commit it."""
    Path("export.py").write_text(EXPORT.format(by))
    with Repo() as repo:
        repo.reproduce()
    git("add", "--all")
    git("-c", "core.hooksPath=", "commit", "--quiet", f"--message={by}")


@pytest.fixture
def work_as(
    repositories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Goes to the clone of somebody; all three are copies."""
    for name in [name for name in os.environ if name.startswith(("DVC_", "GIT_", "WANDB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("origin", "ann", "bob"):
        shutil.copytree(repositories / name, tmp_path / name, symlinks=True)
    for name in ("ann", "bob"):
        git("remote", "set-url", "origin", str(tmp_path / "origin"), folder=tmp_path / name)
    return lambda who: begin(tmp_path / who.lower(), who, monkeypatch)


def promote(run: str = "HEAD", offline: bool = False, push: bool = False) -> None:
    # gto orders tags by their date, which has no fractions of a second: people take longer, too.
    time.sleep(1 - time.time() % 1)
    promoting.promote(run, "production", offline, push)


def tags() -> dict[str, str]:
    """The registry's tags here, with the first line of the commit that each is on."""
    return {name: git("log", "-1", "--format=%s", tag.commit) for name, tag in found().items()}


def found() -> sharing.Tags:
    return sharing.here()


def in_production() -> str | None:
    (by_gto,) = api.show(".", "model#production") or [{"version": None}]
    now = versions.in_stage("production")
    assert (now.name if now else None) == by_gto["version"]
    return by_gto["version"]


def clash(work_as: Callable[[str], None]) -> None:
    """Ann promotes and pushes; Bob promotes twice without asking, and is in his clone."""
    work_as("Ann")
    promote()
    git("push", "--quiet", "--tags", "origin", "main")
    work_as("Bob")
    promote(offline=True)
    promote("HEAD~1", offline=True)


def test_the_next_one_to_promote_gets_the_next_number(
    work_as: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    work_as("Ann")
    promote()
    git("push", "--quiet", "--tags")
    work_as("Bob")
    promote()
    assert "from origin: model#production#1, model@v0.0.1" in capsys.readouterr().out
    assert tags() == {
        "model#production#1": "Ann",
        "model#production#2": "Bob",
        "model@v0.0.1": "Ann",
        "model@v0.0.2": "Bob",
    }
    git("push", "--quiet", "--tags")
    work_as("Ann")
    promoting.demote("production", offline=False, push=False)
    assert "model@v0.0.2 is no longer in production; model@v0.0.1 is" in capsys.readouterr().out
    git("push", "--quiet", "--tags")
    assert doctor.look("registry") == [
        doctor.Finding(True, "5 tags, none clashes with origin"),
    ]


def test_a_clash_is_found_shown_and_solved(
    work_as: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    clash(work_as)
    before = found()
    ann = sharing.there("origin")["model@v0.0.1"].commit[:12]
    bob = before["model@v0.0.1"].commit[:12]
    line = f"model@v0.0.1 is commit {bob} here, and {ann} there, in origin"
    with pytest.raises(AssertionError, match="rejected"):
        git("fetch", "--tags")
    with pytest.raises(CommandError, match=r"production#1 is commit .*: inv model\.reconcile"):
        promote()
    with pytest.raises(CommandError, match=r"inv model\.reconcile"):
        promoting.demote("production", offline=False, push=False)
    assert found() == before
    capsys.readouterr()
    promoting.show(offline=False)
    shown = capsys.readouterr().out.splitlines()
    assert line in shown
    assert shown[-1] == "to have both: inv model.reconcile"
    (finding,) = doctor.look("registry")
    assert (finding.fine, finding.fix) == (False, "inv model.reconcile")
    assert line.removesuffix(", in origin") in finding.detail

    promoting.reconcile()
    printed = capsys.readouterr().out
    assert f"that of commit {bob} is model@v0.0.3 now" in printed
    assert tags() == {
        "model#production#1": "Ann",
        "model#production#2": "both",
        "model#production#3": "Bob",
        "model@v0.0.1": "Ann",
        "model@v0.0.2": "both",
        "model@v0.0.3": "Bob",
    }
    assert in_production() == "v0.0.2"  # promoted last, whichever number it has
    moved = git("cat-file", "tag", "model@v0.0.3")
    was = git("cat-file", "tag", before["model@v0.0.1"].id)
    assert moved.splitlines()[3] == was.splitlines()[3]  # who, and when
    assert "v0.0.1" not in moved
    assert git("cat-file", "tag", "model#production#3").endswith("model version v0.0.3")
    git("fsck", "--strict")

    git("push", "--quiet", "--tags")
    git("fetch", "--quiet", "--tags")
    assert doctor.look("registry")[0].fine
    by_bob = api.history(".", "model")
    work_as("Ann")
    git("fetch", "--quiet", "--tags")
    assert len(api.history(".", "model")) == len(by_bob) == 6
    assert in_production() == "v0.0.2"
    promoting.reconcile()
    assert "nothing clashes with origin" in capsys.readouterr().out


def test_two_who_promoted_the_same_commit_have_one_version(
    work_as: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    work_as("Ann")
    promote("HEAD~1")
    git("push", "--quiet", "--tags")
    theirs = sharing.here()
    work_as("Bob")
    promote("HEAD~1", offline=True)
    promote(offline=True)
    with pytest.raises(CommandError, match=r"was made here and there, on commit .*reconcile"):
        promote()
    promoting.reconcile()
    assert {name: tag for name, tag in found().items() if name in theirs} == theirs
    assert tags() == {
        "model#production#1": "both",
        "model#production#2": "Bob",
        "model@v0.0.1": "both",
        "model@v0.0.2": "Bob",
    }
    assert in_production() == "v0.0.2"


def test_a_tag_that_is_only_called_like_one_of_the_registry_does_not_count(
    work_as: Callable[[str], None],
) -> None:
    work_as("Ann")
    git("tag", "model@v1")
    git("push", "--quiet", "--tags")
    work_as("Bob")
    git("tag", "model@v1")
    promote()
    promoting.reconcile()
    assert in_production() == "v0.0.1"
    assert "model@v1" not in tags()


def test_with_push_nobody_has_the_number_of_another(
    work_as: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    work_as("Bob")
    promote(offline=True)  # he has asked, and Ann is faster
    work_as("Ann")
    promote(push=True)
    assert "to origin: model#production#1, model@v0.0.1" in capsys.readouterr().out
    work_as("Bob")
    promoting.share()
    assert "that of commit" in capsys.readouterr().out
    assert sharing.there("origin") == found()
    assert sorted(set(tags().values())) == ["Ann", "Bob"]


def test_a_remote_that_does_not_answer_is_one_line_and_changes_nothing(
    work_as: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work_as("Ann")
    (tmp_path / "origin").rename(tmp_path / "moved")
    with pytest.raises(CommandError) as raised:
        promote()
    (line,) = str(raised.value).splitlines()
    assert line.startswith("Git's remote origin: git ls-remote: fatal: ")
    assert line.endswith("; without it: the same command with --offline")
    assert found() == {}
    promote(offline=True)
    assert set(tags()) == {"model@v0.0.1", "model#production#1"}
    promoting.show(offline=False)
    assert "not compared: Git's remote origin: git ls-remote" in capsys.readouterr().out
    (finding,) = doctor.look("registry")
    assert finding.fine
    assert "2 tags, not compared" in finding.detail
    with pytest.raises(CommandError, match="Git's remote origin"):
        promoting.reconcile()
    git("remote", "remove", "origin")
    promote("HEAD~1")
    assert in_production() == "v0.0.2"
    with pytest.raises(CommandError, match="there is no remote to reconcile with"):
        promoting.reconcile()


def test_a_commit_with_the_results_of_other_code_is_not_promoted(
    work_as: Callable[[str], None],
) -> None:
    work_as("Ann")
    Path("export.py").write_text(EXPORT.format("other code"))
    git("-c", "core.hooksPath=", "commit", "--quiet", "--all", "--message=Not trained")
    with pytest.raises(CommandError, match=r"results of other code .*export \(export\.py\)"):
        promote()
    assert found() == {}
    promote("HEAD~1")
    assert in_production() == "v0.0.1"
