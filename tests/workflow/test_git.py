"""Git: what it does not answer is no "no", and what it leaves out is named."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from workflow import git, repository
from workflow.errors import CommandError
from workflow.git import GitError
from workflow.paths import ROOT
from workflow.storage import open_repo
from workflow.tracking import patch, provenance

# With this, Git takes each repository for another user's.
OTHERS = "GIT_TEST_ASSUME_DIFFERENT_OWNER"


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Writes the settings of Git of a user whose home folder is empty."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)

    def settings(text: str = "", identity: str = "[user]\nname = A\nemail = a@b.c\n") -> None:
        (home / ".gitconfig").write_text(identity + text)

    settings()
    return settings


@pytest.fixture
def folder(tmp_path: Path, user: Callable[[str], None]) -> Path:
    """A project without a repository: what the first commit and its hooks need."""
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy2(ROOT / "pyproject.toml", project)
    (project / ".pre-commit-config.yaml").write_text(
        "default_install_hook_types: [pre-commit]\nrepos: []\n"
    )
    (project / ".gitignore").write_text("ignored/\n")
    (project / "model.csv").write_text("1\n")
    return project


def in_git(project: Path, *arguments: str) -> list[str]:
    return git.run(project, *arguments).decode().splitlines()


def test_a_repository_that_git_does_not_open_is_an_error_and_not_none(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.make(folder)
    monkeypatch.chdir(folder)
    (folder / "inner").mkdir()
    assert git.top(folder / "inner") == folder.resolve()
    assert git.head(folder) is None  # it answers: there is no commit
    assert provenance.git_state() == {"commit": None, "dirty": False}
    assert git.top(tmp_path) is None

    monkeypatch.setenv(OTHERS, "1")
    for question in (
        lambda: git.top(folder / "inner"),
        lambda: git.head(folder),
        lambda: git.ask(folder, "rev-parse", "no-such-branch"),
        provenance.git_state,
        patch.take,
        lambda: repository.make(folder),
    ):
        with pytest.raises(GitError, match=r"another user.*: git config --global --add safe"):
            question()
    with pytest.raises(CommandError, match="another user"):  # `inv data.pull`, `inv data.push`
        open_repo()
    assert git.top(tmp_path) is None

    with pytest.raises(GitError) as error:
        git.top(folder)
    subprocess.run(error.value.fix, shell=True, check=True)  # what it says to type
    assert git.top(folder) == folder.resolve()

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="Git is not installed"):
        git.head(folder)
    assert git.top(tmp_path) is None


def test_a_damaged_repository_is_an_error(folder: Path) -> None:
    repository.make(folder)
    (folder / ".git/HEAD").unlink()
    with pytest.raises(GitError, match=r"git rev-parse: fatal: "):
        git.head(folder)


def test_a_folder_inside_of_a_repository_gets_its_own_only_if_asked(folder: Path) -> None:
    outer = folder.parent
    repository.make(outer)
    with pytest.raises(GitError, match=r"to belong to it.*--subfolder; .*: inv setup --nested$"):
        repository.make(folder)
    assert not (folder / ".git").exists()
    (outer / ".gitignore").write_text("project/\n")  # which its clones lack anyway
    repository.make(folder)
    shutil.rmtree(folder / ".git")
    (outer / ".gitignore").unlink()
    repository.make(folder, nested=True)
    assert git.top(folder) == folder.resolve()


def test_dvc_can_read_the_repository_whatever_git_would_make(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DEFAULT_HASH", "sha256")
    repository.make(folder)
    assert in_git(folder, "rev-parse", "--show-object-format") == ["sha1"]


def test_what_a_global_gitignore_hides_is_committed_and_named(
    folder: Path, user: Callable[[str], None], tmp_path: Path
) -> None:
    ignored = tmp_path / "ignore"
    ignored.write_text("*.csv\n*.toml\n.DS_Store\n.idea/\n*~\n")
    user(f"[core]\nexcludesFile = {ignored.as_posix()}\n")
    for name in (".DS_Store", ".idea/x.csv", "notes~", "ignored/a.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    repository.make(folder)
    assert repository.commit(folder) == []
    needed = [".gitignore", ".pre-commit-config.yaml", "model.csv", "pyproject.toml"]
    assert in_git(folder, "ls-files") == needed
    (folder / "later.csv").write_text("2\n")
    assert git.hidden(folder) == ["later.csv"]  # which `inv doctor` names
    in_git(folder, "add", "--force", "later.csv")
    assert git.hidden(folder) == []


def test_what_dvc_and_uv_write_is_ignored_by_no_global_gitignore(
    tmp_path: Path, user: Callable[[str], None]
) -> None:
    repository.make(tmp_path)
    shutil.copy2(ROOT / ".gitignore", tmp_path)
    (tmp_path / "ignore").write_text("*.lock\n*.yaml\n*.dvc\ndata/\nmodels/\nreports/\nruns/\n")
    user(f"[core]\nexcludesFile = {(tmp_path / 'ignore').as_posix()}\n")
    names = ["uv.lock", "dvc.lock", "dvc.yaml", "params.yaml", "data/x.dvc", "models/README.md"]
    names += ["reports/metrics.json", "runs/train/metrics.json", "runs/train/history.csv"]
    assert git.ask(tmp_path, "check-ignore", "--no-index", *names) is None
    assert git.ask(tmp_path, "check-ignore", "runs/train/model.ckpt", "conf/a.yaml")


def test_hooks_of_a_company_stay_and_the_line_that_is_printed_installs_ours(
    folder: Path, user: Callable[[str], None], tmp_path: Path
) -> None:
    company = tmp_path / "company"
    company.mkdir()
    user(f"[core]\nhooksPath = {company.as_posix()}\n")
    repository.make(folder)
    line = repository.install_hooks(folder)
    assert not (folder / ".git/hooks/pre-commit").exists()
    assert list(company.iterdir()) == []

    command = line.partition(": ")[2].removesuffix(", then inv setup")
    subprocess.run(command, cwd=folder, shell=True, check=True)
    assert repository.install_hooks(folder) == ""
    hook = folder / ".git/hooks/pre-commit"
    assert not repository.lacks_python(hook)
    text = hook.read_text()
    hook.write_text(re.sub("INSTALL_PYTHON=.*", "INSTALL_PYTHON='/old place/bin/python'", text))
    assert repository.lacks_python(hook)  # after the folder was moved, `inv doctor` says so
    hook.write_text(text)
    (folder / ".pre-commit-config.yaml").write_text("broken")
    with pytest.raises(GitError):  # of the hook, which ran
        repository.commit(folder)


def test_without_a_key_the_first_commit_is_made_and_said_to_be_unsigned(
    folder: Path, user: Callable[[str], None]
) -> None:
    user("[commit]\ngpgSign = true\n[tag]\ngpgSign = true\n[log]\nshowSignature = true\n")
    repository.make(folder)
    (line,) = repository.commit(folder)
    assert in_git(folder, "log", "--format=%s") == [repository.MESSAGE]
    assert line.startswith("the first commit is not signed (")
    assert line.endswith("git commit --amend --no-edit --gpg-sign")


def test_a_commit_that_a_hook_refuses_is_one_line(
    folder: Path, user: Callable[[str], None], tmp_path: Path
) -> None:
    template = tmp_path / "template/hooks"
    template.mkdir(parents=True)
    (template / "commit-msg").write_text("#!/bin/sh\necho a ticket is missing\nexit 1\n")
    (template / "commit-msg").chmod(0o755)
    user(f"[init]\ntemplateDir = {template.parent.as_posix()}\n")
    repository.make(folder)
    with pytest.raises(GitError, match="there is no first commit"):
        repository.commit(folder)
    assert git.head(folder) is None
