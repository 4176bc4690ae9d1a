"""`inv clean`: what it says can go exists elsewhere, and everything else stays."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import wandb
from dvc.repo import Repo
from workflow import storage
from workflow.cleaning import cached_objects, leftovers, restored_copies, uploaded_runs
from workflow.cleaning.__main__ import items, main
from workflow.cleaning.item import Item, delete, size_of
from workflow.runs.restoring import restore
from workflow.tracking import log_reader
from workflow.tracking.transaction_log import QUIET, log_of, marker

ROLES = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a commit, and a remote of DVC; it is current."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith(("DVC_", "GIT_", "WANDB_"))]:
        monkeypatch.delenv(name)
    for name in ROLES:
        monkeypatch.setenv(f"GIT_{name}", "t")
    monkeypatch.setenv("DVC_ROOT", str(folder))
    git("init", "--quiet", "--initial-branch=main")
    repo = Repo.init()
    with repo.config.edit() as config:
        config["core"]["remote"] = "storage"
        config["remote"]["storage"] = {"url": "../storage"}
    Path("data").mkdir()
    Path(".gitignore").write_text("/data/raw\n/wandb/\n/outputs/\n/runs/\n")
    (folder / "code.py").write_text("1\n")
    add("first")
    commit("First")
    return folder


def commit(message: str) -> None:
    git("add", "--all")
    git("-c", "core.hooksPath=", "commit", "--quiet", f"--message={message}")


def add(content: str) -> None:
    """Add a folder of data to DVC."""
    Path("data/raw").mkdir(exist_ok=True)
    Path("data/raw/one.txt").write_text(content)
    with Repo() as repo:
        repo.add("data/raw")


def objects() -> list[Path]:
    return sorted(path for path in Path(".dvc/cache/files").rglob("*") if path.is_file())


def texts() -> set[str]:
    """The contents of DVC's objects, but for the lists of folders."""
    return {path.read_text() for path in objects() if not path.name.endswith(".dir")}


def test_objects_go_that_the_remote_has_and_this_revision_does_not_need(project: Path) -> None:
    with Repo() as repo:
        repo.push()
    add("second")
    add("third")
    commit("Third")
    before = sum(path.stat().st_size for path in objects())
    item = cached_objects.item([])
    assert texts() == {"first", "second", "third"}  # so far nothing has happened
    item.remove()
    assert texts() == {"second", "third"}
    assert sum(path.stat().st_size for path in objects()) == before - item.free
    assert "2 objects of others that the remote lacks: inv data.push --everything" in item.stays
    storage.push(everything=True)
    item = cached_objects.item([])
    item.remove()
    assert texts() == {"third"}
    assert item.stays == "what this revision needs"
    # What went comes back.
    git("checkout", "--quiet", "HEAD~1")
    with Repo() as repo:
        repo.pull()
    assert Path("data/raw/one.txt").read_text() == "first"


def test_without_a_remote_that_answers_no_object_goes(project: Path) -> None:
    with Repo() as repo:
        repo.push()
    add("second")
    with Repo() as repo, repo.config.edit() as config:
        config["remote"]["storage"]["url"] = "http://127.0.0.1:9/"
    item = cached_objects.item([])
    assert item.free == 0
    assert "the remote storage, http://127.0.0.1:9/, does not answer" in item.stays
    with Repo() as repo, repo.config.edit() as config:
        config["cache"]["dir"] = str(project.parent / "shared")
    shutil.move(".dvc/cache", project.parent / "shared")
    assert "not this project's alone" in cached_objects.item([]).stays


@pytest.fixture
def run(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes an offline run with an artifact, and marks it as `wandb sync` does."""
    monkeypatch.setenv("WANDB_DATA_DIR", str(project / "wandb/.data"))

    def make(uploaded: bool) -> Path:
        settings = wandb.Settings(silent=True, console="off", disable_git=True)
        run = wandb.init(mode="offline", dir=str(project), project="p", settings=settings)
        artifact = wandb.Artifact("model", type="model")
        (project / "model.bin").write_text(run.id)
        artifact.add_file(str(project / "model.bin"))
        run.log_artifact(artifact)
        run.finish()
        folder = Path(run.dir).parent
        if uploaded:
            marker(folder).touch()
        return folder

    return make


def age(folder: Path) -> None:
    """Have the log of a run be of a while ago: its process is at work no more."""
    earlier = time.time() - 2 * QUIET
    os.utime(log_of(folder), (earlier, earlier))


@pytest.mark.slow
def test_runs_go_that_are_uploaded(run: Callable[..., Path], project: Path) -> None:
    uploaded, waiting, resumed, lately = run(True), run(False), run(True), run(True)
    for folder in (uploaded, waiting, resumed):
        age(folder)
    state = project / "runs/train/unfinished/state.json"
    state.parent.mkdir(parents=True)
    state.write_text(json.dumps({"run_id": log_of(resumed).stem.removeprefix("run-")}))
    runs, _ = uploaded_runs.items()
    assert runs.stays == "3 not uploaded: inv wandb.sync"
    runs.remove()
    assert [f.exists() for f in (uploaded, waiting, resumed, lately)] == [False, True, True, True]
    age(lately)
    staged = list(log_reader.staged(log_reader.read(waiting).artifacts))
    assert staged
    for item in uploaded_runs.items():
        item.remove()
    assert not lately.exists()
    assert all(path.exists() for path in staged)
    assert {path.name for path in (project / "wandb/.data").rglob("tmp*")} >= {
        path.name for path in staged
    }
    marker(waiting).touch()
    state.unlink()
    for item in uploaded_runs.items():
        item.remove()
    assert not waiting.exists()
    assert not any(path.exists() for path in staged)


@pytest.fixture
def copy(project: Path) -> Path:
    """A worktree, with the note of `inv restore`."""
    folder = project.parent / "project-restored" / "abc"
    git("worktree", "add", "--detach", "--quiet", str(folder), "HEAD")
    restore._write_note(folder, {"run": "abc", "commit": git("rev-parse", "HEAD"), "code": None})
    return folder


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda _: None, ""),
    "code": (lambda copy: (copy / "code.py").write_text("2\n"), "changed since"),
    "a new file": (lambda copy: (copy / "notes.txt").write_text("2\n"), "changed since"),
    "a commit": (
        lambda copy: git("-C", str(copy), "commit", "--quiet", "--allow-empty", "-m", "2"),
        "changed since",
    ),
    "a run": (lambda copy: offline_run(copy), "runs that are not uploaded"),
    "by hand": (lambda copy: (copy / "outputs/x").mkdir(parents=True), "by hand"),
    "a sweep": (lambda copy: (copy / "sweeps/x/0").mkdir(parents=True), "by hand"),
    "unfinished": (
        lambda copy: restore._write_note(copy, {"unfinished": "abc"}),
        "at work, or was killed",
    ),
}


def offline_run(copy: Path) -> None:
    folder = copy / "wandb/offline-run-20260101_000000-abc"
    folder.mkdir(parents=True)
    (folder / "run-abc.wandb").write_text("")


@pytest.mark.parametrize("change", CHANGES)
def test_a_restored_copy_goes_that_nobody_changed(change: str, copy: Path) -> None:
    make, why = CHANGES[change]
    make(copy)
    (item,) = restored_copies.items(list(restore.restored()))
    assert why in item.stays
    assert bool(item.free) == (why == "")
    item.remove()
    assert copy.exists() == (why != "")
    assert copy.parent.exists() == (why != "")
    assert len(git("worktree", "list").splitlines()) == (1 if why == "" else 2)


def test_caches_of_tools_go_and_results_stay(project: Path) -> None:
    gone = ["workflow/__pycache__", ".mypy_cache", "package/inner/__pycache__"]
    stay = [
        ".venv/lib/__pycache__",
        "outputs/2026",
        "runs/served",
        "sweeps/x/0/__pycache__",
        "runs/train/unfinished",
    ]
    for name in [*gone, *stay]:
        (project / name).mkdir(parents=True)
        (project / name / "file").write_text("x" * 100)
    (project / ".dvc/tmp/exps/tmpabc").mkdir(parents=True)
    for item in leftovers.items():
        item.remove()
    assert not any((project / name).exists() for name in [*gone, ".dvc/tmp/exps/tmpabc"])
    assert all((project / name / "file").exists() for name in stay)


def test_nothing_is_removed_unless_asked(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", f"{Path(shutil.which('git') or '').parent}")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    (project / ".ruff_cache").mkdir()
    (project / ".ruff_cache/file").write_text("x" * 2048)
    monkeypatch.setattr("sys.argv", ["clean"])
    main()
    printed = capsys.readouterr().out.splitlines()
    assert (project / ".ruff_cache").exists()
    assert printed[-2:] == ["2.0 KiB can go; nothing was removed", "next: inv clean --apply"]
    assert any("Docker" in line and ("missing" in line or "no Docker" in line) for line in printed)
    monkeypatch.setattr("sys.argv", ["clean", "--apply"])
    main()
    printed = capsys.readouterr().out.splitlines()
    assert not (project / ".ruff_cache").exists()
    assert printed[-2:] == ["2.0 KiB freed", "next: inv doctor"]
    assert sum(item.free for item in items()) == 0


def test_a_folder_that_is_write_protected_and_one_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_text("x" * 1000)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "cache/object").write_text("12345")
    (tmp_path / "cache/object").chmod(0o444)
    assert size_of(tmp_path / "cache") < 1000
    delete(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    assert (tmp_path / "elsewhere/file").exists()
    assert Item("nothing", 1).remove() is None
