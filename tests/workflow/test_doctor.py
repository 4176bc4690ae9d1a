"""Each condition that `inv doctor` knows, brought about, and fixed by what it says to type."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.repo import Repo
from workflow import conflicts, doctor, storage
from workflow.dvc_store.remote import client
from workflow.errors import CommandError
from workflow.paths import ROOT

WHO = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")
NAMES = {f"GIT_{name}": "test" for name in WHO}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a committed project of one stage and one added file, and their remote."""
    folder = tmp_path_factory.mktemp("doctor")
    project = folder / "project"
    (project / "data").mkdir(parents=True)
    (project / "conf").mkdir()
    git("init", "--quiet", "--initial-branch=main", cwd=project)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        repo = Repo.init()
        with repo.config.edit() as config:
            config["core"] |= {"remote": "storage", "autostage": True}
            config["remote"]["storage"] = {"url": "../storage"}
        (project / "data/photos.txt").write_text("photos")
        command = "python -c \"open('model.txt', 'w').write('model')\""
        stage = {"cmd": command, "outs": ["model.txt"]}
        (project / "dvc.yaml").write_text(json.dumps({"stages": {"train": stage}}))
        for name in ("params.yaml", "conf/config.yaml", "uv.lock", ".env"):
            (project / name).write_text("seed: 0\n")
        (project / ".gitignore").write_text(".env\n/model.txt\n")
        repo = Repo()
        repo.add("data/photos.txt")
        repo.reproduce()
        repo.push()
        git("add", "--all", cwd=project)
        git("commit", "--quiet", "--message=All", cwd=project)
    return folder


@pytest.fixture
def project(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is current."""
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "project")
    for name, value in NAMES.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "project"


def git(*arguments: str, cwd: Path | None = None, code: int = 0) -> None:
    options = ("-c", "core.hooksPath=", "-c", "core.autocrlf=false")
    done = subprocess.run(["git", *options, *arguments], cwd=cwd, env={**os.environ, **NAMES})
    assert done.returncode == code


def wrong(check: str) -> doctor.Finding:
    """The one thing that a check finds wrong."""
    (found,) = [finding for finding in doctor.look(check) if not finding.fine]
    return found


def is_fine(check: str) -> bool:
    return all(finding.fine for finding in doctor.look(check))


def follow(fix: str) -> None:
    """Type what a finding says, but for what only a whole project can do."""
    for command in fix.partition(", ")[0].split(" && "):
        if command == "inv data.pull":
            storage.pull()
        elif not command.startswith(("inv ", "uv ")):
            subprocess.run(shlex.split(command), check=True)


def conflict(name: str) -> Callable[[Path], None]:
    """A merge of two branches that both have changed a file."""

    def bring_about(project: Path) -> None:
        file = project / name
        before = file.read_text()
        for branch, end in [("other", "# b\n"), ("main", "# a\n")]:
            git("checkout", "--quiet", *(["-b"] if branch == "other" else []), branch)
            file.write_text(before + end)
            git("commit", "--quiet", "--all", f"--message={branch}")
        git("merge", "--quiet", "other", code=1)

    return bring_about


def committed_conflict(project: Path) -> None:
    conflict("dvc.lock")(project)
    git("commit", "--quiet", "--all", "--message=Merged, markers and all")


def lost_remote(project: Path) -> None:
    shutil.rmtree(project / ".dvc/cache")
    (project.parent / "storage").rename(project.parent / "elsewhere")


def unmounted(project: Path) -> None:
    set_remote("../mnt/share/storage")


def set_remote(url: str) -> None:
    with Repo().config.edit() as config:
        config["remote"]["storage"]["url"] = url


def no_server(project: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        set_remote(f"http://127.0.0.1:{free.getsockname()[1]}/dvc")


def no_remote(project: Path) -> None:
    with Repo().config.edit() as config:
        del config["core"]["remote"], config["remote"]["storage"]


def ignored_locks(project: Path) -> None:
    git("rm", "--cached", "--quiet", "uv.lock", "dvc.lock")
    with (project / ".gitignore").open("a") as file:
        file.write("*.lock\n")


def unfinished(content: str) -> Callable[[Path], None]:
    def bring_about(project: Path) -> None:
        state = project / "runs/train/unfinished/state.json"
        state.parent.mkdir(parents=True, exist_ok=True)
        state.write_text(content)

    return bring_about


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda project: (project / name).write_text(text)


# What is wrong, which check finds it, what it says, what to type.
CONDITIONS = {
    "conflict in dvc.lock": (
        *(conflict("dvc.lock"), "files", "dvc.lock has conflict markers"),
        "git checkout --ours dvc.lock && inv train",
    ),
    "conflict in params.yaml": (
        *(conflict("params.yaml"), "files", "params.yaml has conflict markers"),
        "git checkout --ours params.yaml && inv train",
    ),
    "conflict in uv.lock": (
        *(conflict("uv.lock"), "files", "uv.lock has conflict markers"),
        "git checkout --ours uv.lock && uv lock",
    ),
    "conflict in a .dvc file": (
        *(conflict("data/photos.txt.dvc"), "files", "data/photos.txt.dvc has conflict markers"),
        "git checkout --ours data/photos.txt.dvc && git add data/photos.txt.dvc && inv data.pull",
    ),
    "conflict in conf/": (
        *(conflict("conf/config.yaml"), "files", "conf/config.yaml has conflict markers"),
        "edit conf/config.yaml, without the lines of the markers, then git add",
    ),
    "committed conflict": (
        *(committed_conflict, "files", "dvc.lock has conflict markers"),
        r"git checkout [0-9a-f]{7,} -- dvc.lock && inv train",
    ),
    "conflict, as the remote meets it": (
        *(conflict("dvc.lock"), "DVC remote", "dvc.lock has conflict markers"),
        "git checkout --ours dvc.lock && inv train",
    ),
    "remote folder that is gone": (
        *(lost_remote, "DVC remote", r"storage, does not exist \(is it mounted\?\)"),
        "dvc remote modify --local storage url FOLDER",
    ),
    "remote folder on a share that is not mounted": (
        *(unmounted, "DVC remote", r"is in a folder that does not exist \(is it mounted\?\)"),
        "dvc remote modify --local storage url FOLDER",
    ),
    "client of the remote": (
        *(lambda _: set_remote("oss://bucket/dvc"), "DVC remote", "requires 'dvc-oss'"),
        "uv add dvc-oss",
    ),
    "server of the remote": (
        *(no_server, "DVC remote", "the remote storage, http://127.*, does not answer"),
        "dvc remote modify storage url ADDRESS",
    ),
    "no remote": (
        *(no_remote, "DVC remote", "no remote is set"),
        "dvc remote add --default storage ADDRESS",
    ),
    "unreadable .dvc/config": (
        *(write(".dvc/config", "]\n"), "DVC remote", ".dvc/config cannot be read"),
        "git checkout .dvc/config",
    ),
    "unreadable dvc.lock": (
        *(write("dvc.lock", "]\n"), "pipeline", "unable to read: 'dvc.lock'"),
        "git checkout dvc.yaml dvc.lock",
    ),
    "empty cache": (
        *(lambda project: shutil.rmtree(project / ".dvc/cache"), "data"),
        *(r"(data/photos|model)\.txt, (data/photos|model)\.txt are not here", "inv data.pull"),
    ),
    "unreadable state of a training": (
        *(unfinished("{"), "training", "state.json cannot be read"),
        "inv train -- train.resume=never",
    ),
    "locks that are ignored": (
        *(ignored_locks, "files", "^.gitignore leaves out dvc.lock uv.lock$"),
        "git add --force dvc.lock uv.lock",
    ),
    "secret in Git": (
        *(lambda _: git("add", "--force", ".env"), "secrets", "Git tracks .env"),
        "git rm --cached .env",
    ),
    "no lock": (
        *(lambda project: (project / "uv.lock").unlink(), "environment", "uv.lock is missing"),
        "uv lock",
    ),
}
# What a person decides, or what this small project has not.
NOT_TYPED = r"FOLDER|ADDRESS|^edit|^uv |^inv train"


@pytest.mark.parametrize("condition", CONDITIONS)
def test_doctor_says_what_is_wrong_and_what_fixes_it(
    condition: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_about, check, detail, fix = CONDITIONS[condition]
    if check == "environment":
        monkeypatch.delenv("UV_NO_SYNC", raising=False)
        monkeypatch.setenv("UV", "uv")
    else:
        assert is_fine(check)
    bring_about(project)
    finding = wrong(check)
    assert re.search(detail, finding.detail), finding
    assert re.match(fix, finding.fix), finding
    if not re.search(NOT_TYPED, finding.fix):
        follow(finding.fix)
        assert is_fine(check)


def test_what_is_not_wrong_is_said_with_what_follows(project: Path) -> None:
    assert doctor.look("training") == [doctor.Finding(True, "none was interrupted")]
    for state, detail, follows in [
        ({}, "run abc was interrupted", "inv train resumes it"),
        ({"complete": True}, "run abc ended, and DVC has not recorded it", "inv train does"),
        ({"diverged": "nan"}, "run abc diverged: nan", "inv train -- optimizer.lr=LESS"),
    ]:
        unfinished(json.dumps({"run_id": "abc", **state}))(project)
        assert doctor.look("training") == [doctor.Finding(True, detail, follows)]
    stage = json.loads((project / "dvc.yaml").read_text())
    stage["stages"]["train"]["cmd"] += "  "
    stage["stages"]["train"]["outs"].append("other.txt")
    (project / "dvc.yaml").write_text(json.dumps(stage))
    (found,) = doctor.look("pipeline")
    assert (found.detail, found.fix) == ("changed since the last training: train", "inv train")


def test_another_python_than_that_of_the_images_is_said_with_why_it_works(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_NO_SYNC", raising=False)
    here = ".".join(map(str, sys.version_info[:2]))
    (project / "pyproject.toml").write_text('[project]\nrequires-python = ">=3.11,<3.14"\n')
    (project / "docker").mkdir()
    text = (ROOT / "docker/docker-bake.hcl").read_text()
    other = re.search(r"python:(3\.\d+)-", text)[1]
    (project / "docker/docker-bake.hcl").write_text(text.replace(other, here))
    assert doctor.python().detail.endswith(f" in {sys.prefix}")
    (project / "docker/docker-bake.hcl").write_text(text.replace(other, "3.1"))  # as 3.11 begins
    finding = doctor.python()
    assert "3.1 in the images; as good: uv.lock is for >=3.11,<3.14, and each run" in finding.detail
    assert (finding.fine, finding.fix) == (True, "the same for all: uv python pin 3.1, inv setup")


def test_a_new_remote_folder_is_made_by_the_first_push(project: Path) -> None:
    set_remote("../new")
    assert is_fine("DVC remote")
    storage.push()
    shutil.rmtree(project / ".dvc/cache")
    storage.pull()
    assert is_fine("data")


def test_a_full_disk_is_seen(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.look("disk")[0].fine or shutil.disk_usage(".").free < doctor.ROOM
    monkeypatch.setattr(doctor, "ROOM", shutil.disk_usage(".").total + 1)
    assert re.match(r"\d+ MiB free", wrong("disk").detail)
    assert wrong("disk").fix == "inv clean"


@pytest.mark.parametrize(
    ("url", "command"),
    [
        ("s3://bucket/dvc", "uv sync --inexact --extra s3"),
        ("webdavs://host/dvc", "uv sync --inexact --extra webdav"),
        ("hdfs://host/dvc", "uv add dvc-hdfs"),
    ],
)
def test_the_client_of_each_remote_has_a_command(url: str, command: str) -> None:
    assert client(url) == command


def test_data_pull_names_what_nobody_has(project: Path) -> None:
    lost_remote(project)
    (project / "model.txt").unlink()
    before = (project / "data/photos.txt").read_text()
    with pytest.raises(CommandError, match="does not exist") as gone:
        storage.pull()
    assert "dvc remote modify --local storage url FOLDER" in str(gone.value)
    (project.parent / "storage").mkdir()
    with pytest.raises(CommandError, match=r"model\.txt .*neither here nor in the remote"):
        storage.pull()
    assert (project / "data/photos.txt").read_text() == before


def test_a_conflict_is_one_line_before_data_is_touched(project: Path) -> None:
    conflict("dvc.lock")(project)
    (found,) = conflicts.find()
    for action in (storage.pull, storage.push, storage.status):
        with pytest.raises(CommandError, match=r"dvc\.lock has conflict markers") as error:
            action()
        assert found.fix in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "fine", "detail"),
    [
        ("API_KEY", "short", False, "WANDB_API_KEY"),
        ("MODE", "offline", True, "runs are offline, by WANDB_MODE"),
    ],
)
def test_the_account_says_what_is_set(
    project: Path, name: str, value: str, fine: bool, detail: str
) -> None:
    code = f"from {doctor.__name__} import look; print(look('W&B'))"
    inherited = {key: text for key, text in os.environ.items() if not key.startswith("WANDB_")}
    environment = {**inherited, f"WANDB_{name}": value, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"Finding(fine={fine}" in done.stdout
    assert detail in done.stdout
    assert done.stderr == ""  # W&B says it in each process otherwise
