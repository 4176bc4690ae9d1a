"""What a branch changes against its base, in the clones that CI makes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from workflow import storage
from workflow.errors import CommandError
from workflow.paths import ROOT
from workflow.runs import changes

TRAIN = """
import json, pathlib, yaml
params = yaml.safe_load(open("params.yaml"))
pathlib.Path("reports").mkdir(exist_ok=True)
size = len(pathlib.Path("data/raw.csv").read_text())
metrics = {"mae": params["optimizer"]["lr"] * size, "r2": 0.5}
pathlib.Path("reports/metrics.json").write_text(json.dumps(metrics))
pathlib.Path("model.bin").write_text(str(metrics))
"""
PARAMS = """
seed: 0
metric:
  name: mae
  mode: min
optimizer: {lr: 0.1, betas: [0.9, 0.99]}
"""
PIPELINE = f"""
stages:
  train:
    cmd: {sys.executable} train.py
    deps: [train.py, data/raw.csv]
    params: [optimizer]
    outs: [model.bin]
    metrics:
    - reports/metrics.json:
        cache: false
"""
NAMES = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")
WHO = {f"GIT_{name}": "me@localhost" for name in NAMES}


def call(folder: Path, *command: str) -> str:
    inherited = {
        name: text for name, text in os.environ.items() if name[:4] not in ("DVC_", "GIT_")
    }
    alone = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return subprocess.run(
        command,
        cwd=folder,
        env={**inherited, **WHO, **alone},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def git(folder: Path, *arguments: str) -> str:
    return call(folder, "git", *arguments)


def dvc(folder: Path, *arguments: str) -> None:
    call(folder, sys.executable, "-m", "dvc", *arguments)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


def edit(folder: Path, old: str, new: str) -> None:
    params = folder / "params.yaml"
    assert old in params.read_text()
    params.write_text(params.read_text().replace(old, new))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare repository: on main two commits more since a branch with another rate left it."""
    folder = tmp_path_factory.mktemp("server") / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "conf").mkdir()
    texts = {"train.py": TRAIN, "params.yaml": PARAMS, "dvc.yaml": PIPELINE}
    for name, text in {**texts, "conf/config.yaml": PARAMS, "data/raw.csv": "1\n2\n"}.items():
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "init", "--quiet", "--initial-branch=main")
    dvc(folder, "init", "--quiet")
    dvc(folder, "remote", "add", "--quiet", "--default", "storage", str(folder.parent / "storage"))
    dvc(folder, "add", "--quiet", "data/raw.csv")
    dvc(folder, "repro", "--quiet")
    commit(folder, "Start")
    dvc(folder, "push", "--quiet")
    git(folder, "switch", "--quiet", "--create", "rate")
    edit(folder, "lr: 0.1", "lr: 0.2")
    (folder / "conf/config.yaml").write_text((folder / "params.yaml").read_text())
    dvc(folder, "repro", "--quiet")
    commit(folder, "Another rate")
    git(folder, "switch", "--quiet", "main")
    edit(folder, "seed: 0", "seed: 7")
    commit(folder, "Another seed")
    bare = folder.parent / "server.git"
    git(folder.parent, "clone", "--quiet", "--bare", str(folder), str(bare))
    git(bare, "remote", "remove", "origin")
    return bare


def clone(server: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Path:
    """Clone it as CI does, over a protocol by which `--depth` counts; the clone is current."""
    git(folder, "clone", "--quiet", *options, server.as_uri(), "clone")
    for name in [name for name in os.environ if name.startswith(("GIT_", "DVC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DVC_ROOT", str(folder / "clone"))
    monkeypatch.chdir(folder / "clone")
    return folder / "clone"


def test_a_branch_is_compared_with_where_it_left_its_base(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = clone(server, tmp_path, monkeypatch, "--branch=rate")
    differences = changes.find("origin/main")
    assert differences.base.is_common
    assert differences.base.commit == git(folder, "rev-parse", "HEAD^")
    assert differences.params == ["optimizer.lr"], "the seed was changed on main alone"
    assert differences.metrics == ["mae", "r2"], "the one that decides comes first"
    assert (differences.verdict("mae"), differences.verdict("r2")) == ("+0.4, worse", "=")
    assert differences.files == ["conf/config.yaml"]
    page = changes.markdown(differences)
    assert "| `mae` | 0.4000 | 0.8000 | +0.4, worse |" in page
    assert "| `optimizer.lr` | `0.1` | `0.2` |" in page


def test_a_shallow_clone_fetches_its_base_and_no_history(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = clone(server, tmp_path, monkeypatch, "--branch=rate", "--depth=1")
    differences = changes.find("origin/main")
    assert not differences.base.is_common
    assert differences.params == ["seed", "optimizer.lr"]
    assert "its newest: where they parted is not in this clone" in changes.markdown(differences)
    assert git(folder, "rev-list", "--count", "--all") == "2"


def test_a_whole_clone_of_one_branch_keeps_its_history(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = clone(server, tmp_path, monkeypatch, "--branch=rate", "--single-branch")
    assert changes.find("origin/main").base.is_common
    assert git(folder, "rev-parse", "--is-shallow-repository") == "false"


def test_the_detached_merge_of_a_pull_request_is_compared_with_its_base(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = clone(server, tmp_path, monkeypatch)
    git(folder, "merge", "--quiet", "--no-edit", "origin/rate")
    git(folder, "push", "--quiet", "origin", "HEAD:refs/pull/1/merge")
    other = tmp_path / "ci"
    other.mkdir()
    git(other, "init", "--quiet")
    git(other, "remote", "add", "origin", server.as_uri())
    git(other, "fetch", "--quiet", "--depth=2", "origin", "refs/pull/1/merge")
    git(other, "checkout", "--quiet", "--detach", "FETCH_HEAD")
    git(other, "remote", "set-url", "origin", (tmp_path / "gone").as_uri())
    monkeypatch.setenv("DVC_ROOT", str(other))
    monkeypatch.chdir(other)
    differences = changes.find("HEAD^1")
    assert differences.params == ["optimizer.lr"], "what main has is in both"
    assert differences.verdict("mae") == "+0.4, worse"
    with pytest.raises(CommandError, match=r"^origin/main is not in this clone, and git fetch: "):
        changes.find("origin/main")


@pytest.mark.parametrize(
    ("base", "problem"),
    [
        ("nowhere", "'nowhere' is no commit, branch or tag here: git fetch"),
        ("fork/main", "'fork/main' is no commit, branch or tag here, and there is no remote fork"),
        ("--all", "'--all' is no commit, branch or tag here"),
    ],
)
def test_a_base_that_is_not_there_is_one_line(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str, problem: str
) -> None:
    clone(server, tmp_path, monkeypatch)
    with pytest.raises(CommandError) as raised:
        changes.find(base)
    assert problem in str(raised.value)


def test_without_the_remote_what_can_be_known_is_shown_and_nothing_is_trained(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = clone(server, tmp_path, monkeypatch, "--branch=rate")
    monkeypatch.chdir(folder)
    dvc(folder, "remote", "modify", "storage", "url", str(tmp_path / "unreachable"))
    with pytest.raises(CommandError, match=r"^data/raw\.csv is not here, and .* cannot run: "):
        storage.pull(needed=True)
    edit(folder, "lr: 0.2", "lr: 0.3")
    page = changes.markdown(changes.find("origin/main"))
    assert "their results are older: train" in page
    assert "not here: data/raw.csv" in page.replace("\\", "")
    assert "| `mae` | 0.4000 | 0.8000 |" in page, "of the commit"


def test_data_that_the_pipeline_makes_need_not_be_in_the_remote(
    server: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = clone(server, tmp_path, monkeypatch, "--branch=rate")
    storage.pull(needed=True)  # the model of this branch was never pushed
    assert (folder / "data/raw.csv").read_text() == "1\n2\n"
    assert not (folder / "model.bin").exists()
    dvc(folder, "remote", "modify", "storage", "url", str(tmp_path / "unreachable"))
    capsys.readouterr()
    storage.pull(needed=True)
    assert "model.bin is not here, and the pipeline makes" in capsys.readouterr().out
    dvc(folder, "repro", "--quiet")
    assert changes.find("origin/main").notes == []


def test_a_base_without_a_training_is_said(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = clone(server, tmp_path, monkeypatch, "--branch=rate")
    git(folder, "rm", "--quiet", "reports/metrics.json")
    commit(folder, "No result")
    git(folder, "branch", "--force", "empty")
    git(folder, "checkout", "--quiet", "HEAD^", "--", "reports")
    commit(folder, "A result")
    differences = changes.find("empty")
    assert differences.verdict("mae") == "-"
    assert any("no metrics" in note for note in differences.notes)


def test_text_of_a_branch_is_no_markup(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = clone(server, tmp_path, monkeypatch, "--branch=rate")
    edit(folder, "seed: 0", 'seed: "`</td>| [x](https://a.b) @team\\nnext"')
    page = changes.markdown(changes.find("origin/main"))
    (row,) = [line for line in page.splitlines() if "`seed`" in line]
    assert row == "| `seed` | `0` | `'</td>\\| [x](https://a.b) @team next` |"
    assert yaml.safe_load((folder / "params.yaml").read_text())["seed"].startswith("`")


def test_the_command_prints_the_page_and_nothing_else(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = clone(server, tmp_path, monkeypatch, "--branch=rate")
    command = [sys.executable, "-m", "workflow.runs.changes", "origin/main", "--markdown"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.stdout.startswith("### What this changes, against origin/main (")
    assert done.stderr == ""
