"""Online runs of a generated project: live, and through faults of the server and of the machine.

The server is a double; the project, W&B's client, the processes and their ends are real.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from tracked import FROM_PARAMS, NOWHERE, Project, Server, copy

pytestmark = pytest.mark.slow
# Of a fault's variants, each change runs the one in which the most happens.
weekly = partial(pytest.param, marks=pytest.mark.weekly)

EPOCHS = 8
TRAIN = (
    *(f"trainer.max_epochs={EPOCHS}", "callbacks.early_stopping.patience=999"),
    *("hydra.run.dir=outputs/online", "hydra/job_logging=quiet", "tracking.mode=online"),
)
# A callback with which a training stays in the middle of its epochs as long as a test looks at it.
HOLD = f"""
import time
from pathlib import Path

import lightning as L


class Hold(L.Callback):
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        while trainer.current_epoch == {EPOCHS // 2} and not Path("go").exists():
            time.sleep(0.05)
"""
HELD = (*TRAIN, "+callbacks.hold._target_=my_ml_project.hold.Hold")
ON_A_SMALL_DISK = """
mount -t tmpfs -o size=64k tmpfs wandb || exit 1
"$@"
mount -o remount,size=64m wandb
"$@"
cp -a wandb kept
"""
KEPT = "it is kept in wandb/; `inv wandb.sync` uploads it"


@pytest.fixture
def project(trained_project: Path, project_python: Path, tmp_path: Path) -> Iterator[Project]:
    """The project, without the run that it was trained in."""
    backend = Server(tmp_path / "server")
    with backend:
        copied = copy(trained_project, project_python, tmp_path, backend)
        shutil.rmtree(copied.path / "wandb")
        (copied.path / "my_ml_project/hold.py").write_text(HOLD, encoding="utf-8")
        yield copied


def let_go(project: Project) -> None:
    """Let a training that is held train its other epochs."""
    (project.path / "go").touch()


def wait_for(what: Callable[[], object]) -> None:
    """Wait until something is so; what is asked for may not be there yet."""
    until = time.monotonic() + 180  # on a busy machine
    while time.monotonic() < until:
        try:
            if what():
                return
        except (AssertionError, LookupError):
            pass
        time.sleep(0.02)
    raise AssertionError("it did not come")


def assert_complete(project: Project, epochs: int = EPOCHS) -> None:
    """Every epoch is on the server once and in order; the checkpoint, byte for byte."""
    assert project.epochs == list(range(epochs))
    steps = [row["_step"] for row in project.run.history]
    assert steps == sorted(set(steps))
    assert len(project.run.event_lines) == len(set(project.run.event_lines))
    assert list(project.path.glob("wandb/*/rest-*")) == []
    uploaded = project.backend.artifact(project.path.name, "checkpoint:best").files["model.ckpt"]
    waited = (project.path / "wandb/.data/artifacts/staging").iterdir()
    assert uploaded.read_bytes() in [path.read_bytes() for path in waited]
    summary = project.run.summary
    metrics = project.json("outputs/online/metrics.json")
    assert {name: summary[name] for name in metrics} == metrics
    assert len(project.marked) == len(project.logs)


def test_a_run_is_seen_while_it_trains_and_whole_when_it_ends(project: Project) -> None:
    with project.start("train", *HELD) as training:
        wait_for(lambda: project.epochs)
        assert training.poll() is None
        let_go(project)
        said, _ = training.communicate(timeout=300)
    assert training.returncode == 0, said
    assert f"W&B: {project.backend.url}/me/{project.path.name}/runs/{project.run_id}" in said
    assert_complete(project)
    assert project.run.state == "finished"
    assert project.sync().stdout == "nothing to upload\n"


def test_metrics_of_the_evaluation_follow_those_of_the_training(project: Project) -> None:
    short = ("hydra.run.dir=runs/train", "trainer.max_epochs=2", "tracking.mode=online")
    assert project.module("train", *FROM_PARAMS, *short).returncode == 0
    exported = project.module("export", *FROM_PARAMS, "tracking.mode=online")
    assert exported.returncode == 0, exported.stderr
    evaluated = project.module("evaluate", *FROM_PARAMS, "tracking.mode=online")
    assert evaluated.returncode == 0, evaluated.stderr
    metrics = project.json("reports/metrics.json")
    assert project.run.summary["test/accuracy"] == metrics["accuracy"]
    assert project.run.summary["val/loss"] == project.json("runs/train/metrics.json")["val/loss"]
    model = project.backend.artifact(project.path.name, "model:latest").files["model.onnx"]
    assert model.read_bytes() == (project.path / "models/model.onnx").read_bytes()


@pytest.mark.parametrize(
    "fault",
    [{"WANDB_BASE_URL": NOWHERE}, weekly({"WANDB_API_KEY": "x" * 40}), weekly({})],
    ids=["no server", "refused key", "no key"],
)
def test_without_server_or_key_a_run_continues_and_is_uploaded_later(
    project: Project, fault: dict[str, str]
) -> None:
    done = project.module("train", *TRAIN, **(fault or {"WANDB_API_KEY": ""}))
    assert done.returncode == 0, done.stderr
    assert "this run is kept in wandb/; `inv wandb.sync` uploads it" in done.stdout
    assert project.backend.runs == {}
    assert project.sync().returncode == 0
    assert_complete(project)


def test_a_server_that_goes_away_at_the_end_costs_nothing_but_a_sync(project: Project) -> None:
    with project.start("train", *TRAIN) as training:
        for line in training.stdout or ():
            if line.startswith(f"epoch {EPOCHS}/{EPOCHS}"):
                project.backend.stop()
        training.wait(timeout=300)
    assert training.returncode == 0
    assert project.marked == []
    project.backend.start()
    assert project.sync().returncode == 0
    assert_complete(project)


def test_a_server_that_comes_back_gets_everything(project: Project) -> None:
    with project.start("train", *HELD) as training:
        wait_for(lambda: project.run)
        project.backend.stop()
        time.sleep(1)
        project.backend.start()
        let_go(project)
        said, _ = training.communicate(timeout=300)
    assert training.returncode == 0, said
    assert_complete(project)


@pytest.mark.parametrize("server", [weekly("up"), "down"])
def test_a_killed_training_that_is_resumed_is_whole_on_the_server(
    project: Project, server: str
) -> None:
    with project.start("train", *HELD) as training:
        wait_for(lambda: project.run)
        if server == "down":
            project.backend.stop()
        for line in training.stdout or ():
            if line.startswith(f"epoch {EPOCHS // 2}/{EPOCHS}"):
                training.kill()
    let_go(project)
    done = project.module("train", *HELD)
    assert "resuming the interrupted run" in done.stdout, done.stderr
    if server == "down":
        project.backend.start()
        for log in project.logs:
            os.utime(log, (0, 0))  # long ended
        synced = project.sync()
        assert synced.returncode == 0, synced.stdout
    assert_complete(project)


@pytest.mark.parametrize("cure", [weekly("sync"), "train again"])
def test_a_training_killed_while_it_uploads_is_whole_after_a_sync_or_the_next_one(
    project: Project, cure: str
) -> None:
    folder = project.path / "outputs/online"
    stage = {"DVC_STAGE": "train"} if cure == "train again" else {}
    with project.start("train", *TRAIN, **stage) as training:
        for line in training.stdout or ():
            if line.startswith(f"epoch {EPOCHS}/{EPOCHS}"):
                project.backend.stop()
                break
        wait_for(lambda: (folder / "metrics.json").exists())
        wait_for(lambda: stage or not (folder / "unfinished").exists())
        training.kill()
    project.backend.start()
    if cure == "sync":
        os.utime(project.logs[0], (0, 0))  # long ended
        synced = project.sync()
        assert synced.returncode == 0, synced.stdout
    else:
        for name in ("model.ckpt", "metrics.json", "history.csv"):  # as DVC does before it runs
            (folder / name).unlink()
        done = project.module("train", *TRAIN, **stage)
        assert "nothing is trained" in done.stdout, done.stderr
        assert "epoch" not in done.stdout
        assert (folder / "model.ckpt").exists()
        assert project.run.state == "finished"
    assert_complete(project)


@pytest.mark.weekly
@pytest.mark.skipif(sys.platform != "linux", reason="a disk as small as one likes is Linux's")
def test_a_training_that_filled_the_disk_resumes_when_there_is_room(project: Project) -> None:
    (project.path / "wandb").mkdir()
    many = 60  # epochs, whose log is more than the disk takes
    train = project.command("train", *TRAIN, f"trainer.max_epochs={many}", "tracking.mode=offline")
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", ON_A_SMALL_DISK, "sh", *train],
        cwd=project.path,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ("the disk is full: make room, then inv train again\n")
    assert "resuming the interrupted run" in done.stdout
    (project.path / "wandb").rmdir()
    (project.path / "kept").rename(project.path / "wandb")
    for log in project.logs:
        os.utime(log, (0, 0))  # long ended
    synced = project.sync()
    assert synced.returncode == 0, synced.stdout
    assert len(project.logs) == 2
    assert_complete(project, many)


def test_a_key_that_is_typed_in_makes_runs_online(project: Project) -> None:
    def log_in(key: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            project.command("workflow.tracking.login"),
            input=f"{key}\n",
            cwd=project.path,
            env=project.environment(**nobody),
            capture_output=True,
            text=True,
            check=False,
        )

    nobody = {"WANDB_API_KEY": "", "WANDB_MODE": ""}
    netrc = project.path.with_name(".netrc")
    refusal = f"{project.backend.url} refuses the API key: "
    for wrong, said in {"": "no API key given", "short": refusal, "x" * 40: refusal}.items():
        refused = log_in(wrong)
        assert refused.returncode == 1
        assert refused.stderr.splitlines()[-1].startswith(said)
        assert not netrc.exists()

    done = log_in(project.backend.api_key)
    assert done.returncode == 0, done.stderr
    assert project.backend.api_key not in done.stdout + done.stderr
    assert netrc.stat().st_mode & 0o077 == 0  # nobody else reads it
    training = project.module("train", *TRAIN, "tracking.mode=auto", **nobody)
    assert training.returncode == 0
    assert "redentials" not in training.stdout + training.stderr  # W&B's line in each process
    assert_complete(project)


@pytest.mark.parametrize("end", [weekly("server down"), "training killed"])
def test_what_arrived_before_an_upload_broke_off_is_not_sent_again(
    project: Project, end: str
) -> None:
    often = {"WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "0.1"}  # seconds
    with project.start("train", *HELD, **often) as training:
        wait_for(lambda: project.epochs)
        project.backend.stop()
        if end == "training killed":
            training.kill()
        let_go(project)
        said, _ = training.communicate(timeout=300)
    arrived = project.epochs
    assert 0 < len(arrived) < EPOCHS
    assert project.marked == []
    project.backend.start()
    if end == "training killed":
        done = project.module("train", *HELD)
        assert "resuming the interrupted run" in done.stdout, done.stderr
    else:
        assert training.returncode == 0, said
        assert KEPT in said.splitlines()[-1]
    for log in project.logs:
        os.utime(log, (0, 0))  # long ended
    synced = project.sync()
    assert synced.returncode == 0, synced.stdout
    assert project.epochs[: len(arrived)] == arrived
    assert_complete(project)
