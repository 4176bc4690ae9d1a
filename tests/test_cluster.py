"""Jobs of a generated project on a real SLURM of two nodes, which is there: `sbatch` finds it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from driving import UV, Project, kill, started_by
from engine import until

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

NODES = {"n1", "n2"}
LONG = ["model=random_forest_classifier", "model.n_estimators=20000"]  # minutes


@pytest.fixture(autouse=True)
def two_nodes() -> Iterator[None]:
    """A cluster whose nodes are idle; what a test leaves there is cancelled."""
    assert shutil.which("sbatch"), "no SLURM is here: tests/README.md says what these tests need"
    end = time.monotonic() + 30
    while nodes("idle") != NODES:  # what another test has cancelled is ending
        assert time.monotonic() < end, slurm("sinfo")
        time.sleep(0.5)
    yield
    slurm("scancel", "--name", ",".join(sorted(jobs())) or "none")


def slurm(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def nodes(state: str) -> set[str]:
    return set(slurm("sinfo", "--noheader", "--Node", f"--states={state}", "--format=%N").split())


def jobs() -> set[str]:
    return set(slurm("squeue", "--noheader", "--format=%j").split())


def start(project: Project, *arguments: str) -> subprocess.Popen[str]:
    """Start a task, in a session of its own."""
    return subprocess.Popen(
        [UV, "run", "--no-sync", "inv", *arguments],
        cwd=project.path,
        env=project.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
    )


def inv(project: Project, *arguments: str, seconds: int, code: int = 0) -> str:
    """Run a task within a time; return what it printed."""
    with start(project, *arguments) as process:
        try:
            printed, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == code, printed
    return printed


def submitted(project: Project, *overrides: str) -> tuple[str, str]:
    """Submit a training; return the job's number and its experiment."""
    printed = inv(project, "train", "--detach", "--", "cluster=slurm", *overrides, seconds=60)
    found = re.search(r"^job (\d+) becomes the experiment ([\w-]+);", printed, re.MULTILINE)
    assert found, printed
    return found[1], found[2]


def log(project: Project, job: str) -> str:
    file = project.path / f"runs/cluster/{job}/{job}_0_log.out"
    return file.read_text("utf-8") if file.exists() else ""


def until_printed(project: Project, job: str, text: str, seconds: int) -> None:
    """Wait until a job has printed something."""
    end = time.monotonic() + seconds
    while not re.search(text, log(project, job)):
        assert time.monotonic() < end, log(project, job)
        time.sleep(0.2)


def driver(project: Project, job: str) -> psutil.Process:
    """The process that a node started for a job, or for a task of an array."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        command, variables = process.info["cmdline"] or [], process.info["environ"] or {}
        number = variables.get("SLURM_ARRAY_JOB_ID", variables.get("SLURM_JOB_ID"))
        if "submitit.core._submit" in command and number == job:
            assert str(project.path) in command[-1]
            return process
    raise AssertionError(f"job {job} has no process")


def trainings(project: Project, job: str) -> list[psutil.Process]:
    """The processes of a job that train."""
    return started_by(driver(project, job).pid, "my_ml_project.train")


def experiment(project: Project, name: str, file: str) -> str:
    """A file of an experiment."""
    printed = project.run("git", "for-each-ref", "--format=%(refname)", f"refs/exps/*/*/{name}")
    return project.run("git", "show", f"{printed.strip()}:{file}")


def history(text: str) -> list[list[float]]:
    return [[float(value) for value in row] for row in [*csv.reader(io.StringIO(text))][1:]]


def test_two_nodes_that_are_signalled_end_as_one_process_in_one_go(
    begun: Project, tmp_path: Path
) -> None:
    project = begun.copy(tmp_path)
    # Whole batches alone, which can be divided by two.
    same = ["model=mlp", "model.dropout=0", "trainer.max_epochs=12", "callbacks=minimal"]
    same += ["trainer.limit_train_batches=36", "trainer.limit_val_batches=8"]
    on_two = ["resources.nodes=2", "trainer.num_nodes=2", "loader.batch_size=16"]
    job, name = submitted(project, *on_two, *same)
    until_printed(project, job, r"epoch  3/12", 120)
    slurm("scancel", "--signal=USR2", "--batch", job)  # as SLURM does before the time limit
    printed = inv(project, "cluster.logs", job, "--follow", seconds=180)
    assert re.search(rf"^job {job} on n\[1-2\], restart 1$", printed, re.MULTILINE)
    assert "resuming the interrupted run" in printed
    assert f"next: inv exp.apply {name}" in printed
    assert len({log.stem for log in project.path.glob("wandb/*/run-*.wandb")}) == 1
    assert not (tmp_path / f"{project.path.name}-jobs").exists()

    project.run("dvc", "repro", "--quiet", "prepare")
    folder = "hydra.run.dir=outputs/one"
    project.run("python", "-m", "my_ml_project.train", folder, "loader.batch_size=32", *same)
    one = history((project.path / "outputs/one/history.csv").read_text("utf-8"))
    two = history(experiment(project, name, "runs/train/history.csv"))
    assert len(two) == 12
    for mine, other in zip(two, one, strict=True):
        assert mine == pytest.approx(other, rel=1e-3, abs=1e-5)


def test_a_job_runs_the_code_and_values_that_it_was_submitted_with(
    begun_sklearn: Project, tmp_path: Path
) -> None:
    project = begun_sklearn.copy(tmp_path)
    module = project.path / "my_ml_project/model.py"
    submitted_with = module.read_text("utf-8") + "\nprint('as it was')\n"
    module.write_text(submitted_with, encoding="utf-8")
    job, name = submitted(project, "+cluster.options.hold=true", "seed=7")
    module.write_text("this is no Python any more", encoding="utf-8")
    (project.path / "conf/config.yaml").unlink()
    assert "waits" in inv(project, "cluster.status", "--job", job, seconds=30)

    follower = start(project, "cluster.logs", job, "--follow")
    assert follower.stdout
    for line in follower.stdout:
        if line.startswith(f"job {job} waits"):
            break
    os.killpg(follower.pid, signal.SIGINT)
    printed, _ = follower.communicate(timeout=30)
    assert f"job {job} keeps running: inv cluster.logs {job} --follow" in printed, printed

    slurm("scontrol", "release", job)
    printed = inv(project, "cluster.logs", job, "--follow", seconds=120)
    assert "as it was" in printed
    assert "seed: 7" in experiment(project, name, "params.yaml")
    assert experiment(project, name, "my_ml_project/model.py") == submitted_with
    assert "accuracy" in json.loads(experiment(project, name, "reports/metrics.json"))


def test_a_killed_job_is_reported_within_30_seconds(begun_sklearn: Project, tmp_path: Path) -> None:
    project = begun_sklearn.copy(tmp_path)
    job, _ = submitted(project, *LONG)
    until_printed(project, job, r"Running stage 'train'", 90)
    training = driver(project, job).children(recursive=True)
    driver(project, job).kill()
    killed = time.monotonic()
    printed = inv(project, "cluster.logs", job, "--follow", seconds=30, code=1)
    assert time.monotonic() - killed < 30
    assert re.search(rf"^job {job} failed: it was killed by signal 9", printed, re.MULTILINE)
    assert "Running stage 'train'" in printed.partition("its log ends with")[2]
    assert "failed" in inv(project, "cluster.status", "--job", job, seconds=30)
    assert psutil.wait_procs(training, timeout=15)[1] == []

    # A training alone, as where the node's memory is full: the job says so itself.
    job, _ = submitted(project, *LONG)
    until_printed(project, job, r"Running stage 'train'", 90)
    kill(until(lambda: trainings(project, job)))
    printed = inv(project, "cluster.logs", job, "--follow", seconds=30, code=1)
    assert f"job {job} failed: dvc repro failed" in printed

    job, _ = submitted(project, "+cluster.options.hold=true")
    assert f"job {job} is cancelled" in inv(project, "cluster.cancel", job, seconds=30)
    assert "it was cancelled" in inv(project, "cluster.status", "--job", job, seconds=30)


def test_what_can_never_start_is_refused_before_anything_is_submitted(
    begun_sklearn: Project,
) -> None:
    before = jobs()
    for override, said in {
        "resources.partition=nope": "no nope; there are: main",
        "resources.gpus=3": "resources.gpus is 3, but a node of partition main has 2",
        "resources.constraint=a100": "Invalid feature specification",
    }.items():
        printed = inv(begun_sklearn, "train", "--", "cluster=slurm", override, seconds=60, code=1)
        assert said in printed.splitlines()[-1]
    printed = inv(begun_sklearn, "cluster.check", seconds=60)
    assert "it can start: SLURM expects it to start at" in printed
    assert jobs() == before
    assert not (begun_sklearn.path / "runs/cluster").exists()


def test_a_sweep_over_both_nodes_that_is_killed_has_each_trial_once(
    begun_sklearn: Project, tmp_path: Path
) -> None:
    project = begun_sklearn.copy(tmp_path)
    values = [round(0.1 * index, 1) for index in range(1, 9)]
    grid = f"model.estimator.C={','.join(map(str, values))}"
    typed = ["sweep", "--name", "eight", "--jobs", "2", "--", grid]
    typed += ["cluster=slurm", "resources.cpus=2"]  # all that a node has: a worker on each
    first = start(project, *typed)
    assert first.stdout
    printed = ""
    for line in first.stdout:
        printed += line
        if line.startswith("trial "):
            break
    started = re.search(r"^job (\d+): 2 workers", printed, re.MULTILINE)
    assert started, printed
    task = driver(project, started[1])
    kill([*started_by(task.pid), task])
    kill(started_by(first.pid))
    first.kill()

    printed = inv(project, *typed, seconds=180)
    assert "8 trials: 8 finished" in printed
    found = [
        json.loads(result.read_text("utf-8"))["value"]
        for result in project.path.glob("sweeps/eight/*/seed-0/result.json")
    ]
    assert len(found) == 8
    assert len({*found}) == 8
    logs = [file.read_text("utf-8") for file in project.path.glob("runs/cluster/*/*_log.out")]
    assert {on[1] for text in logs if (on := re.search(r"^job \S+ on (n\d)", text, re.M))} == NODES
