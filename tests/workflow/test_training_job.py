"""A training as a Job of Kubernetes: what has to be so before one is asked for, and in its pod."""

import subprocess
import sys
from pathlib import Path

import pytest
from workflow.cluster import training_job
from workflow.containers import images
from workflow.errors import CommandError
from workflow.paths import ROOT
from workflow.pipeline import pod

REMOTE = "[core]\n    remote = storage\n['remote \"storage\"']\n    url = {}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose one commit a remote has, and whose data is in a bucket."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    for module in (training_job, images):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text(REMOTE.format("s3://bucket/dvc"))
    (tmp_path / ".dockerignore").write_text("*\n!conf\n")
    git("init", "--quiet", "--initial-branch=main")
    git("config", "user.email", "me@example.com")
    git("config", "user.name", "me")
    git("add", "--all")
    git("commit", "--quiet", "--message=Start")
    git("remote", "add", "origin", "git@git.example.com:team/digits.git")
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    return tmp_path


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_pod_is_told_the_commit_and_where_git_has_it(project: Path) -> None:
    training_job.require_remote()
    expected = {"JOB_REPOSITORY": "https://git.example.com/team/digits.git", "JOB_PREFIX": ""}
    assert training_job.pushed_code() == {**expected, "JOB_COMMIT": git("rev-parse", "HEAD")}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["remote", "remove", "origin"], "no Git remote origin: git remote add origin URL, git"),
        (
            ["remote", "set-url", "origin", "/srv/digits.git"],
            "the Git remote origin, /srv/digits.git, is a folder of this machine, where no cluster",
        ),
        (["commit", "--allow-empty", "--quiet", "--message=x"], "origin does not have the commit"),
        (
            ["mv", ".dockerignore", "x"],
            r"no commit has \.dockerignore, x as here: git add, git com",
        ),
        (["config", "--unset", "user.email"], "Git knows no author: git config user.email"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_code_that_a_cluster_would_not_find_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], expected: str
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(project / "none"))
    git(*command)
    if command[0] == "mv":
        (project / ".dockerignore").write_text("*\n")
    with pytest.raises(CommandError, match=expected):
        training_job.pushed_code()


def test_code_that_git_does_not_know_is_one_line(project: Path) -> None:
    (project / "conf").mkdir()
    (project / "conf/new.yaml").write_text("")
    with pytest.raises(CommandError, match=r"^no commit has conf/new\.yaml as here: git add"):
        training_job.pushed_code()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no DVC remote is set, .*: dvc remote add --force --default storage s3://"),
        (REMOTE.format("../storage"), r"the DVC remote, \.\./storage, is a folder of this machine"),
    ],
)
def test_data_that_a_cluster_would_not_find_is_one_line(
    project: Path, text: str, expected: str
) -> None:
    (project / ".dvc/config").write_text(text)
    with pytest.raises(CommandError, match=expected):
        training_job.require_remote()


@pytest.mark.parametrize("name", ["Two Words", "a" * 60, "-a", "a/b"])
def test_a_name_that_no_job_can_have_is_one_line(name: str) -> None:
    with pytest.raises(CommandError, match="small letters, digits and hyphens"):
        training_job.require_name(name)


def test_a_pod_without_its_variables_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOB_NAME", "one")
    command = [sys.executable, "-m", "workflow.pipeline.pod", "seed=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pod: JOB_REPOSITORY is not set: inv deploy.train writes")


def test_a_pod_takes_the_commit_alone_and_the_next_one_keeps_what_it_did(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    git("commit", "--allow-empty", "--quiet", "--message=Two")
    volume = tmp_path_factory.mktemp("volume")
    job = pod.Job("one", project.as_uri(), git("rev-parse", "HEAD"), "", volume / "repository")
    (volume / "repository.unfinished").mkdir()  # of a pod that was killed while it fetched
    (volume / "repository.unfinished/HEAD").write_text("")
    pod.clone(job)
    assert not (volume / "repository.unfinished").exists()
    log = ["git", "-C", str(job.folder), "log", "--format=%s"]
    assert subprocess.run(log, capture_output=True, text=True, check=True).stdout == "Two\n"

    (job.folder / "unfinished").write_text("of the training\n")
    for name in pod.LEFT:  # names processes, or the files of one that was killed
        (job.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (job.folder / name).write_text("{}")
    pod.clone(job)
    assert (job.folder / "unfinished").exists()
    assert not [name for name in pod.LEFT if (job.folder / name).exists()]
    assert pod.reference(job) is None


def test_an_experiment_is_pushed_with_the_password_of_a_secret(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("bare")
    git("clone", "--quiet", "--bare", str(project), str(folder / "origin.git"))
    commit = git("rev-parse", "HEAD")
    job = pod.Job("one", (folder / "origin.git").as_uri(), commit, "", folder / "repository")
    pod.clone(job)
    name = f"refs/exps/{commit[:2]}/{commit[2:]}/one"
    git("-C", str(job.folder), "update-ref", name, commit)
    git("-C", str(job.folder), "update-ref", "refs/exps/exec/EXEC_HEAD", commit)
    pod.push(job)
    pushed = git("-C", str(folder / "origin.git"), "for-each-ref", "--format=%(refname)", "refs")
    assert pushed.splitlines() == [name, "refs/heads/main"]

    monkeypatch.setenv("GIT_USERNAME", "robot")
    monkeypatch.setenv("GIT_PASSWORD", "of the secret")
    filled = subprocess.run(
        ["git", *pod.ACCESS, "credential", "fill"],
        input="protocol=https\nhost=git.example.com\n\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert "username=robot\npassword=of the secret\n" in filled.stdout
