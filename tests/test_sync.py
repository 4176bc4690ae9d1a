"""`inv wandb.sync` of a generated project: its own code and the real client, against a double."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from engine import until
from test_online import wait_for
from tracked import FROM_PARAMS, NOWHERE, Project, Server, copy

pytestmark = pytest.mark.slow


@pytest.fixture
def project(trained_project: Path, project_python: Path, tmp_path: Path) -> Iterator[Project]:
    backend = Server(tmp_path / "server")
    with backend:
        yield copy(trained_project, project_python, tmp_path, backend)


@pytest.fixture(scope="module")
def synced(
    trained_project: Path, project_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """A project whose run was uploaded; the tests of what the server then has share it."""
    folder = tmp_path_factory.mktemp("synced")
    backend = Server(folder / "server")
    with backend:
        project = copy(trained_project, project_python, folder, backend)
        assert [log.name for log in project.logs] == [f"run-{project.run_id}.wandb"] * 2
        done = project.sync()
        assert (done.returncode, done.stderr) == (0, "")
        address = f"{backend.url}/me/{project.path.name}/runs/{project.run_id}"
        assert done.stdout.splitlines() == [
            f"1/1  run {project.run_id} … uploaded: {address}",
            "1 uploaded, 0 skipped, 0 failed",
        ]
        yield project


def make_old(log: Path) -> None:
    """Let the log seem to be of a process that ended some time ago."""
    past = time.time() - 600
    os.utime(log, (past, past))


def cut_in_a_record(log: Path) -> None:
    """What a kill leaves: half of the log, as the client's buffer went out."""
    content = log.read_bytes()
    log.write_bytes(content[: len(content) // 2])


def test_config_and_provenance_arrive(synced: Project) -> None:
    config = synced.run.config
    provenance = config.pop("provenance")
    params = yaml.safe_load((synced.path / "params.yaml").read_text(encoding="utf-8"))
    assert {key: config[key] for key in params} == params
    stages = yaml.safe_load((synced.path / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    prepared = next(out["md5"] for out in stages["prepare"]["outs"])
    assert provenance["data"]["data/prepared"] == prepared
    assert provenance["lock"] == hashlib.sha256((synced.path / "uv.lock").read_bytes()).hexdigest()
    assert provenance["git"]["commit"]


def test_every_epoch_arrives_once_and_in_order(synced: Project) -> None:
    with (synced.path / "runs/train/history.csv").open(encoding="utf-8") as file:
        kept = list(csv.DictReader(file))
    losses = [float(row["val/loss"]) for row in kept]
    rows = [row for row in synced.run.history if "epoch" in row]
    assert [row["epoch"] for row in rows] == [int(row["epoch"]) for row in kept]
    assert [row["val/loss"] for row in rows] == pytest.approx(losses, abs=1e-5)
    steps = [row["_step"] for row in synced.run.history]
    assert steps == sorted(set(steps))


def test_the_summary_has_the_metrics_of_training_and_of_evaluation(synced: Project) -> None:
    summary, test = synced.run.summary, synced.json("reports/metrics.json")
    train = synced.json("runs/train/metrics.json")
    assert {name: summary[name] for name in train} == train
    assert summary["test/accuracy"] == test["accuracy"]
    assert summary["test/loss"] == test["loss"]
    assert synced.run.state == "finished"


def test_checkpoint_and_model_arrive_byte_for_byte(synced: Project) -> None:
    project, backend = synced.path.name, synced.backend
    model = backend.artifact(project, "model:latest").files["model.onnx"]
    assert model.read_bytes() == (synced.path / "models/model.onnx").read_bytes()
    checkpoint = backend.artifact(project, "checkpoint:best").files["model.ckpt"].read_bytes()
    waited = (synced.path / "wandb/.data/artifacts/staging").iterdir()
    assert checkpoint in [path.read_bytes() for path in waited]
    logged = {artifact.collection for artifact in synced.run.artifacts}
    assert {"checkpoint", "model"} <= logged


def test_tables_images_and_the_files_of_training_arrive(synced: Project) -> None:
    files = synced.run.files
    tables = [path for name, path in files.items() if name.startswith("media/table/")]
    assert len(tables) == 2
    assert all(json.loads(path.read_text(encoding="utf-8"))["data"] for path in tables)
    (mistakes,) = (p for n, p in files.items() if n.startswith("media/images/test/worst_mistakes"))
    picture = synced.path / "reports/pictures/worst_mistakes.png"
    assert mistakes.read_bytes() == picture.read_bytes()
    assert "requirements.txt" in files
    assert "train" in synced.run.metadata["program"]


def test_a_second_sync_uploads_nothing(synced: Project) -> None:
    before = (list(synced.run.history_lines), len(synced.backend.artifacts))
    done = synced.sync(WANDB_API_KEY="")  # not even a key is needed for that
    assert (done.returncode, done.stdout, done.stderr) == (0, "nothing to upload\n", "")
    assert (synced.run.history_lines, len(synced.backend.artifacts)) == before


def test_a_log_cut_in_a_record_is_mended_and_the_next_one_follows(project: Project) -> None:
    train, _ = project.logs
    cut_in_a_record(train)
    cut = train.stat().st_size
    make_old(train)
    done = project.sync()
    assert (done.returncode, done.stderr) == (0, "")
    assert train.stat().st_size < cut
    assert len(project.marked) == 2
    assert project.epochs == list(range(len(project.epochs)))
    assert project.epochs
    test = project.json("reports/metrics.json")
    assert project.run.summary["test/accuracy"] == test["accuracy"]
    assert project.sync().stdout == "nothing to upload\n"


def test_a_run_that_is_still_being_written_is_left_alone(project: Project) -> None:
    train, _ = project.logs
    cut_in_a_record(train)
    before = train.read_bytes()
    done = project.sync()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"run {project.run_id} … skipped: it is still being written" in done.stdout
    assert done.stdout.endswith("0 uploaded, 1 skipped, 0 failed\n")
    assert train.read_bytes() == before
    assert project.backend.runs == {}


def test_a_log_without_a_record_does_not_stop_the_others(project: Project) -> None:
    empty = project.path / "wandb/offline-run-20260101_000000-aaaaaaaa/run-aaaaaaaa.wandb"
    empty.parent.mkdir()
    empty.write_bytes(project.logs[-1].read_bytes()[:7])
    make_old(empty)
    done = project.sync()
    assert (done.returncode, done.stderr) == (0, "")
    first, *_, last = done.stdout.splitlines()
    assert first.startswith(f"{empty.parent.name} removed: ")
    assert last == "1 uploaded, 0 skipped, 0 failed"
    assert not empty.parent.exists()
    assert len(project.marked) == 2
    assert project.run.state == "finished"


def test_lost_files_of_an_artifact_are_an_error_until_they_are_back(project: Project) -> None:
    # What was evaluated before the project was copied waits in the project that it is a copy of.
    done = project.module("evaluate", *FROM_PARAMS)
    assert done.returncode == 0, done.stderr
    assert len(project.logs) == 3
    staging = project.path / "wandb/.data/artifacts/staging"
    elsewhere = staging.rename(project.path / "elsewhere")

    done = project.sync()
    assert (done.returncode, done.stderr) == (1, "")
    line, summary = done.stdout.splitlines()
    assert line.startswith(
        f"1/1  run {project.run_id} … failed: 1 of its artifacts' files are gone"
    )
    assert str(staging) in line
    assert summary == "0 uploaded, 0 skipped, 1 failed"
    assert (project.backend.runs, project.marked) == ({}, [])

    elsewhere.rename(staging)
    assert project.sync().returncode == 0
    assert len(project.marked) == 3
    model = project.backend.artifact(project.path.name, "model:latest").files["model.onnx"]
    assert model.read_bytes() == (project.path / "models/model.onnx").read_bytes()


def test_an_artifact_that_the_server_refused_is_an_error_and_is_sent_again(
    project: Project,
) -> None:
    project.backend.refused = "objects/"
    done = project.sync()
    assert (done.returncode, done.stderr) == (1, "")
    line, summary = done.stdout.splitlines()
    assert line.startswith(f"1/1  run {project.run_id} … failed: ")
    assert "artifact" in line
    assert summary == "0 uploaded, 0 skipped, 1 failed"
    assert project.marked == []
    rows = project.run.history

    project.backend.refused = ""
    assert project.sync().returncode == 0
    assert len(project.marked) == 2
    model = project.backend.artifact(project.path.name, "model:latest").files["model.onnx"]
    assert model.read_bytes() == (project.path / "models/model.onnx").read_bytes()
    # The server had the rows already; what it gets again are the same ones, at the same steps.
    assert [row for row in project.run.history if row not in rows] == []
    assert project.sync().stdout == "nothing to upload\n"


def test_a_sync_killed_when_a_part_was_refused_sends_it_later(project: Project) -> None:
    project.backend.refused = "objects/"
    syncing = subprocess.Popen(
        project.command("workflow.tracking.sync"), cwd=project.path, env=project.environment()
    )
    # W&B marks what it has sent, also where a part of it was refused.
    until(lambda: list((project.path / "wandb").glob("offline-run-*/*.synced")))
    syncing.kill()
    syncing.wait()

    project.backend.refused = ""
    assert project.sync().returncode == 0
    model = project.backend.artifact(project.path.name, "model:latest").files["model.onnx"]
    assert model.read_bytes() == (project.path / "models/model.onnx").read_bytes()
    assert len(project.marked) == 2


def test_a_killed_sync_is_made_up_for_by_the_next(project: Project) -> None:
    syncing = subprocess.Popen(
        project.command("workflow.tracking.sync"), cwd=project.path, env=project.environment()
    )
    wait_for(lambda: project.run.history)
    syncing.kill()
    syncing.wait()

    assert project.sync().returncode == 0
    assert project.epochs == list(range(project.json("runs/train/metrics.json")["epochs"]))
    steps = [row["_step"] for row in project.run.history]
    assert steps == sorted(set(steps))
    model = project.backend.artifact(project.path.name, "model:latest").files["model.onnx"]
    assert model.read_bytes() == (project.path / "models/model.onnx").read_bytes()
    assert len(project.marked) == 2


def test_without_a_key_nothing_happens(project: Project) -> None:
    done = project.sync(WANDB_API_KEY="")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "inv wandb.login" in line
    assert "WANDB_API_KEY into .env" in line
    assert project.marked == []


@pytest.mark.parametrize("fault", [{"WANDB_BASE_URL": NOWHERE}, {"WANDB_API_KEY": "x" * 40}])
def test_a_server_that_says_no_or_nothing_is_one_line(
    project: Project, fault: dict[str, str]
) -> None:
    done = project.sync(**fault)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert fault.get("WANDB_BASE_URL", project.backend.url) in line
    assert "x" * 40 not in line
    assert (project.backend.runs, project.marked) == ({}, [])


@pytest.mark.weekly
def test_a_run_uploaded_between_kill_and_resume_has_every_epoch_once(project: Project) -> None:
    shutil.rmtree(project.path / "wandb")
    overrides = ["trainer.max_epochs=28", "callbacks.early_stopping.patience=99"]
    command = project.command("train", *overrides, "hydra.run.dir=outputs/killed")
    with subprocess.Popen(
        command,
        cwd=project.path,
        env=project.environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as training:
        for line in training.stdout or ():
            if line.startswith("epoch 25/28"):
                training.kill()
    (log,) = project.logs
    os.utime(log, (0, 0))  # long dead
    assert project.sync().returncode == 0
    assert project.epochs[:4] == [0, 1, 2, 3]

    done = project.module("train", *command[3:])
    assert f"resuming the interrupted run {project.run_id}" in done.stdout, done.stderr
    assert project.sync().returncode == 0
    assert project.epochs == list(range(28))
