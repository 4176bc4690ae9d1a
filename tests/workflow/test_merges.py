"""Two people who both trained: what Git makes of their branches, and what a training does then.

The pipeline is a small one with the files of the real one: conf/ is composed into params.yaml, and
a model that says who made it is measured twice.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from workflow import conflicts, doctor, storage
from workflow.dvc_store import recorded
from workflow.errors import CommandError
from workflow.paths import ROOT
from workflow.pipeline import apply, outcome
from workflow.report import page
from workflow.runs import experiments

BUILT = [
    "dvc.lock",
    "params.yaml",
    "reports/metrics.json",
    "runs/train/history.csv",
    "runs/train/metrics.json",
]
STAGES = """
import json, sys, uuid
from pathlib import Path
import yaml
if sys.argv[1] == "config":
    texts = [path.read_text() for path in sorted(Path("conf").glob("*.yaml"))]
    Path("params.yaml").write_text("".join(texts))
    raise SystemExit
from code_of_the_model import SCALE
params = yaml.safe_load(Path("params.yaml").read_text())
loss = params["lr"] * params["batch"] * SCALE
for folder in ("runs/train", "reports"):
    Path(folder).mkdir(parents=True, exist_ok=True)
Path("model.txt").write_text(f"{loss} {uuid.uuid4()}")
Path("runs/train/metrics.json").write_text(json.dumps({"loss": loss}))
Path("runs/train/history.csv").write_text(f"epoch,loss\\n1,{loss}\\n")
Path("reports/metrics.json").write_text(json.dumps({"loss": loss}))
"""
PIPELINE = {
    "config": {
        "cmd": f"{sys.executable} stages.py config",
        "deps": ["conf"],
        "outs": [{"params.yaml": {"cache": False, "persist": True}}],
    },
    "train": {
        "cmd": f"{sys.executable} stages.py train",
        "deps": ["code_of_the_model.py"],
        "params": ["lr", "batch"],
        "outs": ["model.txt"],
        "metrics": [{name: {"cache": False}} for name in (BUILT[2], BUILT[4])],
        "plots": [{BUILT[3]: {"cache": False}}],
    },
}
# What each branch changes, and whether it was trained on the branch.
BRANCHES = {
    "lr": ({"conf/lr.yaml": "lr: 2\n"}, True),
    "batch": ({"conf/batch.yaml": "batch: 48\n"}, True),
    "lr and batch": ({"conf/lr.yaml": "lr: 3\n", "conf/batch.yaml": "batch: 64\n"}, True),
    "one": ({"conf/lr.yaml": "lr: 5\n"}, True),
    "same": ({"conf/lr.yaml": "lr: 5\n"}, True),
    "code": ({"code_of_the_model.py": "SCALE = 10\n"}, False),
}
WHO = ("AUTHOR_NAME", "AUTHOR_EMAIL", "COMMITTER_NAME", "COMMITTER_EMAIL")


def git(*arguments: str, code: int = 0) -> str:
    # Without attributes of the machine's or hooks of its user's.
    settings = ("-c", "core.hooksPath=", "-c", "core.autocrlf=false", "-c", "core.attributesFile=")
    environment = {**os.environ, **{f"GIT_{name}": "t" for name in WHO}, "GIT_EDITOR": "true"}
    done = subprocess.run(
        ["git", *settings, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def train() -> list[str]:
    """Run the pipeline as `inv train` does; return the stages that ran."""
    conflicts.require_settled()
    with Repo() as repo:
        # Without the cache of runs: two people have one each.
        return [stage.addressing for stage in repo.reproduce(run_cache=False)]


def stale() -> dict[str, list[str]]:
    with storage.open_repo() as repo:
        return recorded.stale(repo)


@pytest.fixture(scope="module")
def branches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose branches are those of BRANCHES, each from a trained main."""
    folder = tmp_path_factory.mktemp("merges") / "project"
    (folder / "conf").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in [name for name in os.environ if name.startswith(("DVC_", "GIT_"))]:
            patch.delenv(name)
        git("init", "--quiet", "--initial-branch=main")
        Repo.init().close()
        shutil.copy(ROOT / ".gitattributes", ".")
        files = {
            "stages.py": STAGES,
            "code_of_the_model.py": "SCALE = 1\n",
            "dvc.yaml": yaml.safe_dump({"stages": PIPELINE}),
            "conf/lr.yaml": "lr: 1\n",
            "conf/batch.yaml": "batch: 16\n",
            ".gitignore": "/model.txt\n__pycache__/\n",
        }
        write(files)
        commit("Not trained")
        git("branch", "untrained")
        train()
        commit("Trained")
        for name, (changed, is_trained) in BRANCHES.items():
            git("checkout", "--quiet", "-b", name.replace(" ", "-"), "main")
            write(changed)
            if is_trained:
                train()
            commit(name)
    return folder


@pytest.fixture
def project(branches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it; it is current."""
    monkeypatch.chdir(shutil.copytree(branches, tmp_path / "project", symlinks=True))
    for name in [name for name in os.environ if name.startswith(("DVC_", "GIT_"))]:
        monkeypatch.delenv(name)
    for name in WHO:
        monkeypatch.setenv(f"GIT_{name}", "t")
    monkeypatch.setenv("GIT_EDITOR", "true")
    return tmp_path / "project"


def write(files: dict[str, str]) -> None:
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")


def commit(message: str) -> None:
    git("add", "--all")
    git("commit", "--quiet", f"--message={message}")


def bring(how: str, other: str, onto: str, code: int = 1) -> str:
    """Check a branch out, and bring another one to it."""
    git("checkout", "--quiet", "--force", onto)
    with Repo() as repo:
        repo.checkout()
    return git(how, other, code=code)


def end() -> None:
    """Type what `inv train` says at its end."""
    for command in conflicts.finish().split(" && "):
        git(*command.split()[1:])


def is_settled() -> bool:
    """Whether nothing is left to do: Git, the doctor and CI say so."""
    assert not any(finding.fix for finding in doctor.look("pipeline") if not finding.fine)
    return not stale() and not conflicts.finish() and git("status", "--porcelain") == ""


@pytest.mark.parametrize(("onto", "other"), [("lr", "batch"), ("batch", "lr")])
@pytest.mark.parametrize("how", ["merge", "rebase", "cherry-pick"])
def test_both_trained_with_other_values(how: str, onto: str, other: str, project: Path) -> None:
    printed = bring(how, other, onto)
    assert "CONFLICT" in printed
    sides = {name: {git("show", f"{branch}:{name}") for branch in (onto, other)} for name in BUILT}
    for name in BUILT:
        assert Path(name).read_text() in sides[name]
    (found,) = conflicts.find()
    assert (set(found.paths), found.blocks) == (set(BUILT), False)
    assert re_made(found.fix) == {"merge": "commit"}.get(how, f"{how} --continue")
    with pytest.raises(CommandError, match=r"dvc\.lock, .* are of one side of a merge: inv train"):
        conflicts.require_merged()  # DVC cannot stash this

    assert "config" in stale()
    assert train() == ["config", "train"]
    assert yaml.safe_load(Path("params.yaml").read_text()) == {"lr": 2, "batch": 48}
    assert Path("reports/metrics.json").read_text() == '{"loss": 96}'
    end()
    assert is_settled()
    assert train() == []


def re_made(fix: str) -> str:
    return fix.removeprefix("inv train, then git add --all && git ")


@pytest.mark.parametrize(("onto", "other"), [("one", "same"), ("same", "one")])
def test_both_trained_to_the_same_result(onto: str, other: str, project: Path) -> None:
    bring("merge", other, onto)
    (found,) = conflicts.find()
    assert found.paths == ("dvc.lock",)  # the model says who made it
    assert stale() == {}
    assert train() == []
    end()
    assert is_settled()


@pytest.mark.parametrize(("onto", "other"), [("lr", "code"), ("code", "lr")])
@pytest.mark.parametrize("how", ["merge", "rebase", "cherry-pick"])
def test_what_was_merged_and_not_trained_is_found(
    how: str, onto: str, other: str, project: Path
) -> None:
    bring(how, other, onto, code=0)
    (found,) = doctor.look("pipeline")
    assert not found.fine
    assert "results are of other code or config: train" in found.detail
    assert train() == ["train"]
    assert Path("reports/metrics.json").read_text() == '{"loss": 320}'
    commit("Trained again")
    assert is_settled()


def test_a_branch_that_was_checked_out_without_its_data_is_no_lie(project: Path) -> None:
    git("checkout", "--quiet", "--force", "batch")
    Path("model.txt").write_text("of another branch")
    assert stale() == {}
    (found,) = doctor.look("pipeline")
    assert (found.fine, found.fix) == (True, "inv train")


def test_ci_finds_it_in_a_clone_without_data(project: Path) -> None:
    clone = project.parent / "clone"
    git("clone", "--quiet", "--branch=lr", str(project), str(clone))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def check() -> tuple[int, list[str], list[str]]:
        command = [sys.executable, "-m", "workflow.pipeline.check"]
        how = {"cwd": clone, "env": environment, "capture_output": True, "text": True}
        done = subprocess.run(command, **how)
        return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()

    code, printed, errors = check()
    assert (code, errors) == (0, [])
    assert printed[0] == "the results are those of this code, config and data"
    git("-C", str(clone), "merge", "origin/code")
    code, printed, errors = check()
    assert (code, printed) == (1, [])
    (line,) = errors
    assert line.endswith(": train (code_of_the_model.py): inv train, git add --all && git commit")


def test_a_conflict_in_conf_comes_first(project: Path) -> None:
    bring("merge", "lr-and-batch", "lr")
    with pytest.raises(CommandError, match=r"^conf/lr\.yaml has conflict markers: edit conf/lr"):
        train()
    write({"conf/lr.yaml": "lr: 7\n"})
    with pytest.raises(CommandError, match=r"^conf/lr\.yaml is in conflict: git add conf/lr\.yaml"):
        train()
    git("add", "conf")
    assert train() == ["config", "train"]
    assert Path("reports/metrics.json").read_text() == '{"loss": 448}'
    end()
    assert is_settled()


def test_code_that_one_side_removed_is_named(project: Path) -> None:
    git("checkout", "--quiet", "lr")
    git("rm", "--quiet", "code_of_the_model.py")
    commit("Removed")
    git("merge", "code", code=1)
    with pytest.raises(CommandError, match=r"model\.py is in conflict: git add .*git rm"):
        train()


def test_both_trained_for_the_first_time(project: Path) -> None:
    for name in ("first", "second"):
        git("checkout", "--quiet", "-b", name, "untrained")
        write({"conf/lr.yaml": "lr: 4\n"} if name == "first" else {"conf/batch.yaml": "batch: 4\n"})
        train()
        commit(name)
    bring("merge", "first", "second")
    (found,) = conflicts.find()
    assert set(found.paths) == set(BUILT)
    assert train() == ["config", "train"]
    assert Path("reports/metrics.json").read_text() == '{"loss": 16}'
    end()
    assert is_settled()


def test_markers_of_a_merge_made_before_are_one_line_with_what_fixes_them(project: Path) -> None:
    (project / ".git/info").mkdir(exist_ok=True)
    (project / ".git/info/attributes").write_text("* merge\n")
    bring("merge", "lr-and-batch", "lr")
    git("checkout", "--ours", "conf/lr.yaml")
    git("add", "conf")
    for ask in (
        train,
        stale,
        page.write,
        experiments.read,
        storage.pull,
        lambda: apply.apply("any"),
    ):
        with pytest.raises(CommandError) as raised:
            ask()
        (line,) = str(raised.value).splitlines()
        assert "dvc.lock" in line
        assert "reports/metrics.json" in line
        assert "have conflict markers: git checkout --ours" in line
    (found,) = conflicts.find()
    choose, training, add = found.fix.split(" && ")
    assert training == "inv train"
    git(*choose.split()[1:])
    assert train() == ["config", "train"]
    git(*add.split()[1:])
    assert Path("reports/metrics.json").read_text() == '{"loss": 128}'
    end()
    assert is_settled()


def test_what_the_pipeline_writes_and_git_keeps_is_never_mixed(project: Path) -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    names = {"dvc.lock"}
    for stage in stages.values():
        for kind in ("outs", "metrics", "plots"):
            for entry in stage.get(kind, []):
                if isinstance(entry, dict):
                    names |= {n for n, how in entry.items() if how.get("cache") is False}
    assert sorted(names) == BUILT
    attributes = git("check-attr", "merge", *BUILT).splitlines()
    assert attributes == [f"{name}: merge: unset" for name in BUILT]
    assert all(conflicts.is_built(name) for name in BUILT)


def test_the_end_of_a_training_says_what_ends_the_merge(project: Path) -> None:
    bring("merge", "batch", "lr")
    assert conflicts.finish() == "git add --all && git commit"
    assert outcome.following(project) == "next: git add --all && git commit, which ends the merge"
    train()
    end()
    assert outcome.following(project) == outcome.NEXT
