"""A generated project, set up and driven end to end by its own commands."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from baking import ROOT, bake
from driving import (
    PYTHON,
    Project,
    environment,
    interpreter,
    kill,
    set_up,
    stages_run,
    started_by,
)

pytestmark = pytest.mark.slow
EXPERIMENTS = "refs/exps/??/*/*"

OTHER_PYTHON = "3.11" if PYTHON == "3.13" else "3.13"


def test_setup_makes_a_clean_repository_with_hooks(begun_sklearn: Project, tmp_path: Path) -> None:
    project = begun_sklearn.copy(tmp_path)
    assert project.run("git", "status", "--porcelain") == ""
    assert project.run("git", "log", "--format=%s").splitlines() == ["Start from the template"]
    (project.path / "secret.py").write_text('KEY = "AKIAIOSFODNN7EXAMPLE"\n')
    project.run("git", "add", "secret.py")
    assert "secret.py:1: AWS Access Key" in project.run("git", "commit", "-m", "a key", code=1)
    notebook = project.path / "notebooks/last_run.ipynb"
    notebook.write_text(notebook.read_text("utf-8").replace("## Learning", "## All learning"))
    assert "nbdiff" in project.run("git", "diff", "notebooks")
    printed = project.inv("setup", variables={"UV_NO_SYNC": "1"})  # once more changes nothing
    assert printed.endswith("ready: inv train\n")
    assert len(project.run("git", "log", "--format=%s").splitlines()) == 1


def test_data_is_added_where_runs_record_it(trained_sklearn: Project, tmp_path: Path) -> None:
    project = trained_sklearn.copy(tmp_path)
    for folder in ("data/scans", "models"):
        (project.path / folder).mkdir(exist_ok=True)
        (project.path / folder / "old.txt").write_text("a scan")
    printed = project.inv("data.add", "models/old.txt", code=1)
    assert printed == "models/old.txt: runs record what is in data/; move it there\n"
    assert not (project.path / "models/old.txt.dvc").exists()
    project.inv("data.add", "data/scans/old.txt")
    project.run("python", "-m", "my_ml_project.train")
    provenance = [run["config"].get("provenance") for run in project.runs()]
    *_, recorded = filter(None, provenance)
    assert recorded["data"]["data/scans/old.txt"] == hashlib.md5(b"a scan").hexdigest()


def test_before_setup_a_task_says_what_to_type(tmp_path: Path) -> None:
    project = Project(bake(tmp_path).path)
    assert project.inv("train", code=1) == "the project is not a Git repository yet: inv setup\n"
    assert re.search(r"fix +Git .* inv setup", project.inv("doctor", code=1))


@pytest.mark.weekly  # an environment more; each change runs the quick tests on each Python
def test_another_python_trains_the_same_model(trained: Project, tmp_path: Path) -> None:
    project = set_up(tmp_path, OTHER_PYTHON)
    project.inv("train")
    assert project.json("reports/metrics.json") == trained.json("reports/metrics.json")
    recorded = project.runs()[0]["config"]["provenance"]
    assert recorded["python"].startswith(OTHER_PYTHON)


def test_an_applied_experiment_lasts_when_conf_changes(
    trained_sklearn: Project, tmp_path: Path
) -> None:
    project = trained_sklearn.copy(tmp_path)
    project.commit("A trained model")
    project.inv("train", "--", "model=random_forest_classifier", "model.n_estimators=20")
    name = project.run("git", "for-each-ref", "--format=%(refname:lstrip=-1)", EXPERIMENTS).strip()
    file = "conf/model/random_forest_classifier.yaml"
    model = project.path / file
    text = model.read_text("utf-8")
    model.write_text(text + "# unfinished\n")
    *_, refused = project.inv("exp.apply", name, code=1).splitlines()
    assert refused.startswith(f"exp.apply: {file}: not committed, and would be lost")
    assert model.read_text("utf-8") == text + "# unfinished\n"
    model.write_text(text)
    note = project.path / "data/raw/note.txt"
    note.write_text("nowhere else")
    *_, refused = project.inv("exp.apply", name, code=1).splitlines()
    assert refused.startswith("exp.apply: data/raw/: changed since DVC recorded it")
    assert note.read_text() == "nowhere else"
    note.unlink()

    assert f"conf/experiment/{name}.yaml" in project.inv("exp.apply", name).splitlines()[-1]
    assert stages_run(project.inv("train")) == []
    project.inv("exp.apply", name)  # once more, what it wrote itself is no change that is lost
    project.commit("The best one")
    serving = project.path / "conf/serving/default.yaml"
    serving.write_text(re.sub(r"capacity: \d+", "capacity: 7", serving.read_text("utf-8")))
    assert stages_run(project.inv("train")) == ["config"]
    params = (project.path / "params.yaml").read_text("utf-8")
    assert "capacity" not in params
    assert "n_estimators: 20\n" in params
    assert "RandomForestClassifier" in params


def test_a_wrong_override_is_one_line_before_anything_runs(
    trained: Project, tmp_path: Path
) -> None:
    project = trained.copy(tmp_path)
    params = (project.path / "params.yaml").read_bytes()
    for override, expected in [
        ("trainer.max_epoch=3", "did you mean max_epochs?"),
        ("model=cnnn", "did you mean cnn?"),
        ("trainer.max_epochs=many", "trainer.max_epochs"),
        ("trainer.precision=banana", "is not one of 32-true, "),
        ("seed=1,2", "inv exp.queue -- seed=1,2"),
        ("--multirun", "inv exp.queue"),
    ]:
        _, line = project.inv("train", "--", override, code=1).splitlines()
        assert line.startswith("config: "), line
        assert expected in line
    assert (project.path / "params.yaml").read_bytes() == params
    _, line = project.inv("exp.queue", "--", "optimizer.lr=0.1,many", code=1).splitlines()
    assert line.startswith("config: optimizer.lr: ")
    assert "No experiment tasks in the queue" in project.run("dvc", "queue", "status")


def test_a_wrong_key_in_a_file_is_named_with_the_file(trained: Project, tmp_path: Path) -> None:
    project = trained.copy(tmp_path)
    path = project.path / "conf/trainer/cpu.yaml"
    path.write_text(path.read_text().replace("max_epochs: 20", "max_epoch: 20"))
    printed = project.inv("train", code=255)
    assert "did you mean max_epochs? (conf/trainer/cpu.yaml)" in printed
    assert stages_run(printed) == ["config"]


def test_a_fresh_clone_has_nothing_to_run(trained_sklearn: Project, tmp_path: Path) -> None:
    project = trained_sklearn.copy(tmp_path)
    project.commit("A trained model")
    project.inv("data.push")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(project.path), str(clone)], check=True)
    copy = replace(project, path=clone)
    assert not (clone / "models/model.onnx").exists()
    copy.inv("data.pull")
    assert (clone / "models/model.onnx").read_bytes() == (
        project.path / "models/model.onnx"
    ).read_bytes()
    printed = copy.inv("train")
    assert stages_run(printed) == []
    assert "up to date" in printed


def test_a_result_that_dvc_had_is_not_trained_again(trained: Project, tmp_path: Path) -> None:
    """Neither after a kill before DVC had recorded it, nor where another branch has it."""
    project = trained.copy(tmp_path)
    results = ("dvc.lock", "runs/train/metrics.json", "reports/metrics.json")
    before = {name: (project.path / name).read_bytes() for name in results}
    project.commit("Trained")
    project.run("git", "switch", "--create", "short")
    settings = project.path / "conf/trainer/cpu.yaml"
    settings.write_text(settings.read_text().replace("max_epochs: 20", "max_epochs: 1"))
    project.commit("One epoch")

    def kill_all(process: subprocess.Popen[str]) -> None:
        until = time.monotonic() + 60
        while not (project.path / "runs/train/model.ckpt").exists() and time.monotonic() < until:
            time.sleep(0.005)
        kill(started_by(process.pid))  # and waits: DVC's lock holds while the system knows them

    project.interrupt("inv", "train", when="epoch 1/1", how=kill_all)
    assert "max_epochs: 20" in (project.path / "dvc.lock").read_text()  # still of the stage `train`
    printed = project.inv("train")
    assert "nothing is trained" in printed
    assert "epoch 1/1" not in printed
    assert project.json("runs/train/metrics.json")["epochs"] == 1
    assert not (project.path / "runs/train/unfinished").exists()
    training, evaluation = project.runs()[2:]
    assert training["run_id"] == evaluation["run_id"]
    assert training["state"] == evaluation["state"] == "finished"
    # DVC removes results before it runs a stage: no change of the code.
    assert training["config"]["provenance"]["git"]["dirty"] is False

    project.commit("Trained shortly")
    project.run("git", "switch", "-")
    printed = project.inv("train")
    assert stages_run(printed) == []
    assert printed.count("is cached") == 3
    assert {name: (project.path / name).read_bytes() for name in results} == before
    assert project.run("git", "status", "--porcelain") == ""


def test_sweeps_make_a_run_each(trained_sklearn: Project, tmp_path: Path) -> None:
    project = trained_sklearn.copy(tmp_path)
    project.run("python", "-m", "my_ml_project.train", "-m", "seed=1,2")
    assert [run["config"]["seed"] for run in project.runs()[2:]] == [1, 2]
    assert len(list((project.path / "multirun").rglob("model.ckpt"))) == 2
    assert "up to date" in project.inv("train")  # the pipeline's own results are untouched


def test_two_processes_train_one_model(trained: Project, tmp_path: Path) -> None:
    project = trained.copy(tmp_path)
    processes = ["trainer.strategy=ddp", "trainer.devices=2"]
    overrides = [*processes, "loader=device", "trainer.max_epochs=4"]
    project.run("python", "-m", "my_ml_project.train", "hydra.run.dir=outputs/ddp", *overrides)
    metrics = project.json("outputs/ddp/metrics.json")
    assert metrics["val/accuracy"] > 0.8
    assert len(project.runs()) == 3  # one run, not one of each process


def test_hooks_pass_and_a_package_that_is_there_by_chance_is_named(
    trained: Project, tmp_path: Path
) -> None:
    project = trained.copy(tmp_path)
    assert "Failed" not in project.run("pre-commit", "run", "--all-files")
    with (project.path / "my_ml_project/fetch.py").open("a") as file:
        file.write("\nimport requests\n")  # which DVC happens to bring
    assert "'requests' imported but it is a transitive" in project.run("deptry", ".", code=1)


def test_the_notebook_shows_the_last_run(trained: Project, tmp_path: Path) -> None:
    project = trained.copy(tmp_path)
    options = ["--execute", "--to", "notebook", "--output", "executed.ipynb"]
    project.run("jupyter", "nbconvert", *options, "notebooks/last_run.ipynb")
    text = (project.path / "notebooks/executed.ipynb").read_text("utf-8")
    assert f"{project.json('reports/metrics.json')['accuracy']:.3f}"[:5] in text
    assert '"image/png"' in text


def test_doctor_finds_what_is_missing_and_says_how_to_fix_it(
    trained: Project, tmp_path: Path
) -> None:
    project = trained.copy(tmp_path)
    assert "fix" not in project.inv("doctor")
    (project.path / ".git/hooks/pre-commit").unlink()
    printed = project.inv("doctor", code=1)
    assert re.search(r"fix +hooks .* inv setup", printed)


def test_the_readme_starts_with_commands_that_work(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    package = next(interpreter(PYTHON).parents[1].glob("**/site-packages/sklearn"))
    compiled = package / "datasets/tests/__pycache__"  # which nothing imports
    shutil.rmtree(compiled, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "invoke", "demo", "--folder", str(folder)],
        cwd=ROOT,
        env=environment(PYTHON),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    accuracy = json.loads((folder / "reports/metrics.json").read_text())["accuracy"]
    assert f"test accuracy  {accuracy:.4f}" in done.stdout
    for path in re.findall(r"^(?:model|report|W&B run) +(\S+)", done.stdout, re.MULTILINE):
        assert Path(path).exists()
    # `inv setup` compiles the whole environment, and no command does it again.
    assert done.stderr.count("Bytecode compiled") == 1
    assert list(compiled.glob("test_base.*.pyc"))

    # What is printed next, typed as it is: the first result and the experiment are both shown.
    printed = done.stdout.partition("\nNext:\n")[2]
    first, *lines = [re.split(r"  +", line.strip())[0] for line in printed.strip().splitlines()]
    assert first == f"cd {os.path.relpath(folder, ROOT)}"
    for line in lines:
        done = subprocess.run(
            shlex.split(line),
            cwd=folder,
            env=environment(PYTHON),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, line + done.stdout + done.stderr
        assert "Bytecode compiled" not in done.stderr
    assert lines[-1] == "uv run inv compare"
    shown = re.findall(r"^[ >]+\S+ +(trainer.max_epochs=\d+)", done.stdout, re.MULTILINE)
    assert len(shown) == 2, done.stdout
    assert f"{accuracy:.4f}" in done.stdout
