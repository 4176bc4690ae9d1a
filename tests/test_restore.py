"""Past runs of a generated project, restored and run again by its own commands."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from driving import UV, Project
from engine import until
from wandb_backend import Backend

pytestmark = pytest.mark.slow

OTHER = "model.estimator.C=0.5"
COMMIT_AS = ("-c", "user.name=me", "-c", "user.email=me@localhost")


@dataclass(frozen=True)
class Past:
    """A project with the ids of its runs, whose results are gone from its folder and its cache."""

    project: Project
    first: str  # of the template's code and data
    changed_code: str  # with an edited and an untracked file, which were never committed so
    changed_data: str

    @property
    def restored(self) -> Path:
        return self.project.path.with_name(f"{self.project.path.name}-restored")


def run_ids(project: Project) -> list[str]:
    """The ids of the runs in wandb/, oldest first."""
    folders = sorted((project.path / "wandb").glob("offline-run-*"))
    return list(dict.fromkeys(folder.name.rpartition("-")[2] for folder in folders))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), "utf-8")


def state(project: Project) -> tuple[str, dict[str, str]]:
    """What Git says of the work tree, and a hash of each file that a user may have changed."""
    listed = project.run("git", "ls-files", "--cached", "--others", "--exclude-standard")
    files = [project.path / name for name in listed.splitlines()]
    hashes = {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()
    }
    hashes["index"] = hashlib.sha256((project.path / ".git/index").read_bytes()).hexdigest()
    return project.run("git", "--no-optional-locks", "status", "--porcelain"), hashes


@pytest.fixture(scope="module")
def past(begun_sklearn: Project, tmp_path_factory: pytest.TempPathFactory) -> Past:
    project = begun_sklearn.copy(tmp_path_factory.mktemp("past"))
    package = project.path / "my_ml_project"

    project.inv("train", "--", OTHER)

    (package / "sampling.py").write_text("EACH = 3\n")
    edit(package / "model.py", "transform(inputs), target)", "transform(inputs)[::EACH], TARGET)")
    edit(package / "model.py", "TARGET", "target[::EACH]")
    edit(package / "model.py", "\n\nInputs =", "\nfrom .sampling import EACH\n\nInputs =")
    project.run("python", "-m", "workflow.stage_code", "--fix")
    project.inv("train")
    project.inv("data.push")

    (package / "sampling.py").write_text("EACH = 2\n")
    edit(package / "fetch.py", "bunch.images.astype", "bunch.images[::-1].astype")
    edit(package / "fetch.py", "bunch.target}", "bunch.target[::-1]}")
    project.inv("train")
    project.inv("data.push")

    project.commit("Other code and data")
    for folder in ("data/raw", "data/prepared", "models", ".dvc/cache"):
        shutil.rmtree(project.path / folder)
    return Past(project, *run_ids(project))


def test_a_killed_restore_is_not_taken_for_a_finished_one(past: Past, tmp_path: Path) -> None:
    before = state(past.project)
    folder, begun = tmp_path / "killed", tmp_path / "begun"
    # Git writes a file that only this run has through a filter, which holds the restore there.
    past.project.run("git", "config", "filter.hold.smudge", f"touch {begun}; sleep 300")
    attributes = past.project.path / ".git/info/attributes"
    attributes.parent.mkdir(exist_ok=True)
    attributes.write_text("sampling.py filter=hold\n", "utf-8")
    restoring = subprocess.Popen(
        [UV, "run", "--no-sync", "inv", "restore", past.changed_code, f"--into={folder}"],
        cwd=past.project.path,
        env=past.project.env,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(begun.exists)
    os.killpg(restoring.pid, signal.SIGKILL)
    restoring.wait()
    attributes.unlink()

    printed = past.project.inv("restore", past.changed_code, f"--into={folder}", code=1)
    assert f"{folder} is not finished: " in printed
    command = printed.splitlines()[-1].rpartition(": ")[2]
    past.project.run(*command.split())
    printed = past.project.inv("restore", past.changed_code, f"--into={folder}")
    assert f"restored: {folder}" in printed.splitlines()
    assert (folder / "data/prepared/test_images.npy").exists()
    printed = past.project.inv("restore", past.changed_code, f"--into={folder}", code=1)
    assert "exists: remove it" in printed, "one that is finished stays"
    past.project.run("git", "worktree", "remove", "--force", str(folder))
    assert state(past.project) == before


@pytest.mark.parametrize("name", ["changed_code", "changed_data"])
def test_each_run_comes_back_with_the_same_metrics_and_weights(past: Past, name: str) -> None:
    before = state(past.project)
    shutil.rmtree(past.project.path / ".dvc/cache", ignore_errors=True)
    run = getattr(past, name)
    restored = past.project.inv("restore", run)
    assert "in the remote" in restored
    printed = past.project.inv("reproduce", run)
    assert "restored:" not in printed  # what was restored is used
    assert re.search(r"^all \d+ identical$", printed, re.MULTILINE)
    for metric in ("val/loss", "test/accuracy", "test/loss", "model/weights_sha256"):
        assert re.search(rf"^ *{metric} +(\S+) +\1 +identical", printed, re.MULTILINE), printed
    assert state(past.project) == before
    assert not (past.project.path / "data/raw").exists()
    sampling = past.restored / run / "my_ml_project/sampling.py"
    assert sampling.exists()
    if name == "changed_code":
        assert sampling.read_text() == "EACH = 3\n"
        assert "?? my_ml_project/sampling.py" in past.project.run(
            "git", "-C", str(past.restored / run), "status", "--porcelain"
        )


def test_the_runs_were_three_different_ones(past: Past) -> None:
    pairs = {
        (run["config"]["provenance"]["data"]["data/raw"], run["summary"]["val/loss"])
        for run in past.project.runs()
        if run["config"]
    }
    assert len(pairs) == 3
    assert len({data for data, _ in pairs}) == 2


def test_a_restored_folder_that_someone_changed_is_not_taken_for_the_run(
    past: Past, tmp_path: Path
) -> None:
    folder = tmp_path / "changed"
    past.project.inv("restore", past.first, f"--into={folder}")
    train = folder / "my_ml_project/train.py"
    train.write_text(train.read_text("utf-8") + "# looked at\n", "utf-8")
    printed = past.project.inv("reproduce", past.first, f"--into={folder}", code=1)
    assert "was changed since it was restored" in printed
    assert train.read_text("utf-8").endswith("# looked at\n")


def test_what_comes_out_otherwise_is_shown_and_fails(past: Past, tmp_path: Path) -> None:
    project = past.project.copy(tmp_path)
    edit_metric(project.path / "reports/metrics.json", accuracy=0.123)
    project.commit("Better")
    printed = project.inv("reproduce", "HEAD", code=1)
    assert re.search(r"test/accuracy +0\.123 +0\.\d+ +\+0\.\d+", printed)
    assert re.search(r"test/loss +(\S+) +\1 +identical", printed)
    assert re.search(r"^1 of \d+ differ$", printed, re.MULTILINE)


def test_an_experiment_comes_back_by_its_name(past: Past, tmp_path: Path) -> None:
    (name,) = past.project.run("dvc", "exp", "list", "--all-commits", "--name-only").split()
    folder = tmp_path / "experiment"
    past.project.inv("restore", name, f"--into={folder}")
    assert_has_its_config(folder)
    assert (folder / "data/prepared/train_images.npy").exists()
    assert not (folder / "my_ml_project/sampling.py").exists()


def test_what_is_lost_is_said_first_and_the_rest_comes_back(past: Past, tmp_path: Path) -> None:
    project = past.project.copy(tmp_path)
    (lost,) = project.path.glob(f"wandb/offline-run-*-{past.first}/files/code.patch")
    lost.unlink()
    folder = tmp_path / "restored"
    printed, where = project.inv("restore", past.first, f"--into={folder}").split("\nrestored:")
    assert "changes      cannot be restored: they were not kept with the run" in printed
    assert str(folder) in where
    # Without the patch there is no dvc.lock: the hashes that the run recorded are enough.
    assert not (folder / "dvc.lock").exists()
    assert (folder / "data/prepared/train_images.npy").exists()
    assert_has_its_config(folder)


def assert_has_its_config(folder: Path) -> None:
    """A restored run has the value that was given on its command line."""
    params = yaml.safe_load((folder / "params.yaml").read_text("utf-8"))
    assert params["model"]["estimator"]["C"] == 0.5


def test_damaged_objects_of_the_cache_are_fetched_again(past: Past, tmp_path: Path) -> None:
    project = past.project.copy(tmp_path)
    damage_cache(project)
    folder = tmp_path / "restored"
    project.inv("restore", past.changed_code, f"--into={folder}")
    assert_has_its_data(replace(project, path=folder))


def assert_has_its_data(restored: Project) -> None:
    """What a restored run was trained on is there, byte for byte as DVC recorded it."""
    assert (restored.path / "data/prepared/test_images.npy").exists()
    assert "up to date" in restored.run("dvc", "status", "fetch", "prepare")


def test_the_environment_that_a_run_had_is_made_again(past: Past, tmp_path: Path) -> None:
    project = past.project.copy(tmp_path)
    with (project.path / "uv.lock").open("a") as lock:
        lock.write("# another one than then\n")
    folder = tmp_path / "restored"
    printed = project.inv("reproduce", past.first, f"--into={folder}")
    assert "uv sync --locked" in printed
    assert re.search(r"Installed \d{3} packages", printed)
    assert not re.search(r"^ \+ ", printed, re.MULTILINE)  # nor a line for each of them
    python = folder / (".venv/Scripts/python.exe" if os.name == "nt" else ".venv/bin/python")
    where = subprocess.run(
        [python, "-c", "import sklearn; print(sklearn.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()).is_relative_to(folder / ".venv")
    assert re.search(r"^all \d+ identical$", printed, re.MULTILINE), printed


def test_an_uploaded_run_comes_back_from_the_server(past: Past, tmp_path: Path) -> None:
    project = past.project.copy(tmp_path)
    with Backend(tmp_path / "server") as backend:
        server = {"WANDB_BASE_URL": backend.url, "WANDB_API_KEY": backend.api_key}
        project.inv("wandb.sync", variables=server)
        for made_offline in project.path.glob("wandb/offline-run-*"):
            shutil.rmtree(made_offline)
        path = f"me/{project.path.name}/{past.changed_code}"
        folder = tmp_path / "restored"
        project.inv("restore", path, f"--into={folder}", variables=server)
        assert (folder / "my_ml_project/sampling.py").read_text() == "EACH = 3\n"
        assert "target[::EACH]" in (folder / "my_ml_project/model.py").read_text("utf-8")
        assert_has_its_config(folder)
        unknown = project.inv("restore", f"{path}x", code=1, variables=server)
        assert "W&B has no run" in unknown.splitlines()[-1]


def test_runs_are_reproduced_on_another_machine(past: Past, tmp_path: Path) -> None:
    here = past.project.copy(tmp_path / "here")
    there = replace(here, path=tmp_path / "there" / here.path.name)
    with Backend(tmp_path / "server") as backend:
        server = {"WANDB_BASE_URL": backend.url, "WANDB_API_KEY": backend.api_key}
        here.inv("wandb.sync", variables=server)
        # All that the other machine has: the repository, the remote, W&B's server and its key.
        here.run("git", "clone", "--quiet", str(here.path), str(there.path))
        storage = f"{here.path.name}-storage"
        (tmp_path / "here" / storage).rename(tmp_path / "there" / storage)
        shutil.rmtree(here.path)
        home = tmp_path / "home"
        home.mkdir()
        variables = {**server, "HOME": str(home)}
        there.inv("setup", variables=variables)
        team = f"me/{there.path.name}"
        for run in (past.first, past.changed_data):
            folder = tmp_path / run
            there.inv("restore", f"{team}/{run}", f"--into={folder}", variables=variables)
            assert_has_its_data(replace(there, path=folder))
            sampling = folder / "my_ml_project/sampling.py"
            assert sampling.exists() == (run == past.changed_data)
        printed = there.inv("reproduce", f"{team}/{past.changed_code}", variables=variables)
        assert re.search(r"^all \d+ identical$", printed, re.MULTILINE), printed


def test_credentials_come_along_and_stay_ignored(past: Past, tmp_path: Path) -> None:
    project = past.project.copy(tmp_path)
    (project.path / ".env").write_text("WANDB_ENTITY=team\n")
    (project.path / ".env").chmod(0o600)
    project.run("dvc", "remote", "modify", "--local", "storage", "verify", "true")
    (project.path / ".dvc/config.local").chmod(0o600)
    folder = tmp_path / "restored"
    project.inv("restore", past.changed_data, f"--into={folder}")
    for name in (".env", ".dvc/config.local"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert "verify = true" in (folder / ".dvc/config.local").read_text()
    assert project.run("git", "-C", str(folder), "status", "--porcelain", ".env", ".dvc") == ""
    copy = replace(project, path=folder)
    assert "up to date" in copy.run("dvc", "status", "config", "fetch", "prepare")
    assert "in sync" in copy.run("dvc", "status", "--cloud", "prepare")


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("nothing", "no run 'nothing'"),
        ("lost-commit", "is not in this repository: git fetch"),
        ("lost-data", "is neither in the cache nor in the remote"),
        ("damaged-data", "is neither in the cache nor in the remote"),
        ("taken-folder", "exists: remove it, or choose another one"),
        ("folder-inside", "is in the project"),
    ],
)
def test_what_cannot_be_restored_is_one_line_and_leaves_nothing(
    past: Past, tmp_path: Path, run: str, expected: str
) -> None:
    project = past.project.copy(tmp_path)
    folder = tmp_path / "restored"
    name = past.changed_code
    if run == "nothing":
        name = run
    elif run == "lost-commit":
        shutil.rmtree(project.path / ".git")
        project.run("git", "init", "--quiet")
        project.run(
            "git", "-c", "core.hooksPath=", *COMMIT_AS, "commit", "--allow-empty", "-m", "x"
        )
    elif run == "lost-data":
        shutil.rmtree(project.path.with_name(f"{project.path.name}-storage"))
        shutil.rmtree(project.path / ".dvc/cache", ignore_errors=True)
    elif run == "damaged-data":
        damage_cache(project)
        shutil.rmtree(project.path.with_name(f"{project.path.name}-storage"))
    elif run == "taken-folder":
        folder.mkdir()
        (folder / "mine.txt").write_text("mine")
    elif run == "folder-inside":
        folder = project.path / "restored"
    (project.path / "conf/config.yaml").write_text("# being edited\n")
    before = state(project)
    printed = project.inv("restore", name, f"--into={folder}", code=1)
    *_, line = printed.splitlines()
    assert line.startswith("restore: ")
    assert expected in line
    assert "Traceback" not in printed
    assert state(project) == before
    assert not folder.exists() or [path.name for path in folder.iterdir()] == ["mine.txt"]
    assert str(folder) not in project.run("git", "worktree", "list")


def edit_metric(path: Path, **values: float) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}, indent=2) + "\n")


def damage_cache(project: Project) -> None:
    """Have each object in the cache, but for a byte: a program wrote into a linked file."""
    cache = project.path / ".dvc/cache/files/md5"
    storage = project.path.with_name(f"{project.path.name}-storage")
    shutil.copytree(storage / "files/md5", cache, dirs_exist_ok=True)
    for path in cache.glob("*/*"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(content)
        path.chmod(0o444)  # DVC trusts such a file
