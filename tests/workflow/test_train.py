"""Training: what a run leaves behind, that it repeats, and that it survives being killed."""

import csv
import hashlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from running import inspect, train
from workflow.config.schema import plain
from workflow.config.values import ConfigError
from workflow.errors import CommandError
from workflow.lightning.callbacks import EndProcesses
from workflow.lightning.processes import job_environment
from workflow.paths import CHECKPOINT, CONF, ROOT, TRAIN_RUN
from workflow.tracking import log_reader
from workflow.training.session import DivergedError
from workflow.training.unfinished import Training

# Enough steps to be killed in the middle of.
EPOCHS = 8  # so many that a training is not over before it is killed
LONG = ["loader.batch_size=1", f"trainer.max_epochs={EPOCHS}", "tracking.mode=offline"]


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "model.ckpt", weights_only=True)["state_dict"]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def history(run_dir: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run_dir / "history.csv").open(encoding="utf-8")))


def tracked_runs(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*/*.wandb"))


def test_run_leaves_checkpoint_metrics_and_history(workspace: Path, config) -> None:
    loss = train(config(), workspace / "run")
    metrics = json.loads((workspace / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["val/loss"] == loss
    assert metrics["epochs"] == 2
    assert [row["epoch"] for row in history(workspace / "run")] == ["0", "1"]
    assert weights(workspace / "run")
    assert not (workspace / "run" / "unfinished").exists()


def test_run_is_a_function_of_the_seed(workspace: Path, config) -> None:
    for name, seed in [("first", 0), ("again", 0), ("other", 1)]:
        train(config(f"seed={seed}"), workspace / name)
    assert same(weights(workspace / "first"), weights(workspace / "again"))
    assert not same(weights(workspace / "first"), weights(workspace / "other"))


@pytest.mark.slow
def test_offline_run_holds_config_provenance_and_metrics(workspace: Path, config) -> None:
    (workspace / "data" / "images.dvc").write_text("outs: [{md5: 1f00, path: images}]")
    (workspace / "data" / "scans").mkdir()
    (workspace / "data" / "scans" / "old.dvc").write_text("outs: [{md5: 2e00, path: old}]")
    train(config("tracking.mode=offline", "seed=7", "tracking.entity=team"), workspace / "run")
    (run,) = tracked_runs(workspace)
    read = json.loads(inspect(run, "--summary"))
    assert read["state"] == "finished"
    assert read["config"]["seed"] == 7
    assert read["config"]["trainer"]["max_epochs"] == 2
    provenance = read["config"]["provenance"]
    assert provenance["seed"] == 7
    assert provenance["python"].startswith("3.")
    assert provenance["data"] == {"data/images": "1f00", "data/scans/old": "2e00"}
    assert {"git", "config", "lock", "threads"} <= provenance.keys()
    metrics = json.loads((workspace / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert read["summary"]["val/loss"] == pytest.approx(metrics["val/loss"])
    ours = log_reader.read(run.parent)
    assert (ours.config, ours.summary, ours.step) == (read["config"], read["summary"], read["step"])
    assert ours.has_ended
    assert tracked_epochs(run) == [0, 1]
    recorded = torch.load(workspace / "run" / "model.ckpt", weights_only=True)["provenance"]["run"]
    assert recorded["id"] == read["run_id"]
    assert recorded["path"] == f"team/{config().tracking.project}/{recorded['id']}"
    page = recorded["path"].replace(f"/{recorded['id']}", f"/runs/{recorded['id']}")
    assert re.fullmatch(rf"https://[^/]+.*/{page}", recorded["url"])  # it opens there when uploaded


def tracked_rows(run: Path) -> list[dict[str, Any]]:
    """The history of an offline run, in order."""
    rows = [json.loads(line) for line in inspect(run).splitlines()]
    return [row["history"]["item"] for row in rows if row["type"] == "history"]


def tracked_epochs(run: Path) -> list[int]:
    """The epochs in the history of an offline run, in order."""
    return [row["epoch"] for row in tracked_rows(run) if "epoch" in row]


@pytest.mark.slow
@pytest.mark.parametrize("loader", ["memory", "workers"])
def test_killed_run_resumes_as_if_nothing_had_happened(
    workspace: Path, small: list[str], config, python: Callable[..., Any], loader: str
) -> None:
    long = [f"loader={loader}", *LONG]
    run_dir = workspace / "run"
    module = "my_ml_project.train"
    with python("-m", module, f"hydra.run.dir={run_dir}", *small, *long) as process:
        while not (run_dir / "history.csv").exists() or len(history(run_dir)) < 2:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        process.kill()
    assert len(history(run_dir)) < EPOCHS
    assert not (run_dir / "metrics.json").exists()
    state = json.loads((run_dir / "unfinished" / "state.json").read_text(encoding="utf-8"))

    train(config(*long), run_dir)
    logs = tracked_runs(workspace)  # of the killed process, and of the one that went on
    assert [log.stem for log in logs] == 2 * [f"run-{state['run_id']}"]
    assert [epoch for log in logs for epoch in tracked_epochs(log)] == list(range(EPOCHS))

    train(config(*long), workspace / "whole")
    assert same(weights(run_dir), weights(workspace / "whole"))
    for file in ("metrics.json", "history.csv"):
        assert (run_dir / file).read_bytes() == (workspace / "whole" / file).read_bytes()


class Interrupt(L.Callback):
    """Ends the training in its second epoch."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 1:
            raise RuntimeError("interrupted")


def test_interrupted_run_of_another_config_starts_over(workspace: Path, config, capsys) -> None:
    with pytest.raises(RuntimeError, match="interrupted"):
        train(config(f"+callbacks.interrupt._target_={__name__}.Interrupt"), workspace / "run")
    assert (workspace / "run" / "unfinished").exists()

    train(config("seed=1"), workspace / "run")
    assert "starting from scratch" in capsys.readouterr().out
    assert [row["epoch"] for row in history(workspace / "run")] == ["0", "1"]
    train(config("seed=1"), workspace / "whole")
    assert same(weights(workspace / "run"), weights(workspace / "whole"))


@pytest.mark.slow
def test_run_killed_after_early_stopping_trains_no_further(
    workspace: Path, config, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops_early = config(
        *("optimizer.lr=0.05", "trainer.max_epochs=30", "callbacks.early_stopping.patience=1"),
        "tracking.mode=offline",
    )
    train(stops_early, workspace / "whole")
    assert len(history(workspace / "whole")) < 30
    (whole,) = tracked_runs(workspace)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "end", killed)
        with pytest.raises(KeyboardInterrupt):
            train(stops_early, workspace / "again")
    (workspace / "again" / "history.csv").unlink()  # as DVC does
    train(stops_early, workspace / "again")
    assert history(workspace / "again") == history(workspace / "whole")
    assert same(weights(workspace / "again"), weights(workspace / "whole"))
    logs = [log for log in tracked_runs(workspace) if log.stem != whole.stem]
    assert [log.stem for log in logs] == 2 * [logs[0].stem]
    rows = [row for log in logs for row in tracked_rows(log)]
    assert [row["_step"] for row in rows] == [row["_step"] for row in tracked_rows(whole)]
    assert json.loads(inspect(logs[-1], "--summary"))["state"] == "finished"


@pytest.mark.slow
def test_a_result_that_dvc_did_not_record_is_kept_and_nothing_is_trained(
    workspace: Path, config, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def run_stage(*overrides: str) -> str:
        """Train as a stage of DVC, which removes the stage's files first."""
        for path in TRAIN_RUN.glob("*.*"):
            path.unlink()
        train(config("tracking.mode=offline", *overrides), TRAIN_RUN)
        return capsys.readouterr().out

    monkeypatch.setenv("DVC_STAGE", "train")
    TRAIN_RUN.mkdir(parents=True)
    assert "epoch 2/2" in run_stage()
    (log,) = tracked_runs(workspace)
    content = {path.name: path.read_bytes() for path in TRAIN_RUN.glob("*.*")}
    assert content.keys() == {"model.ckpt", "metrics.json", "history.csv"}
    assert "nothing is trained" in (printed := run_stage())
    assert "epoch" not in printed
    assert {path.name: path.read_bytes() for path in TRAIN_RUN.glob("*.*")} == content
    assert tracked_runs(workspace) == [log]
    assert json.loads(inspect(log, "--summary"))["state"] == "finished"

    # Once DVC has it, who runs the stage again wants it trained again; nor do other inputs get it.
    md5 = hashlib.md5(content["model.ckpt"]).hexdigest()
    out = {"path": CHECKPOINT.as_posix(), "md5": md5}
    stages = {"train": {"outs": [out]}}
    Path("dvc.lock").write_text(json.dumps({"stages": stages}))
    assert "epoch 2/2" in run_stage()
    assert "epoch 2/2" in run_stage("seed=5")
    assert len(tracked_runs(workspace)) == 3


def test_the_loss_of_a_step_is_that_of_its_batches(workspace: Path, config) -> None:
    accumulated = ["loader.batch_size=10", "trainer.accumulate_grad_batches=3"]
    train(config("tracking.mode=offline", *accumulated), workspace / "run")
    (run,) = tracked_runs(workspace)
    steps, epochs = [], []
    for row in tracked_rows(run):
        steps += [row["train/step_loss"]] if "train/step_loss" in row else []
        epochs += [row["train/loss"]] if "train/loss" in row else []
    assert len(steps) == 4  # 60 samples, in two epochs
    assert [sum(steps[:2]) / 2, sum(steps[2:]) / 2] == pytest.approx(epochs)


class SpoilWeights(L.Callback):
    """Makes the weights infinite in the second epoch, before its training or its validation."""

    def __init__(self, before: str) -> None:
        self.before = before

    def _spoil(self, trainer: L.Trainer, pl_module: L.LightningModule, when: str) -> None:
        if when == self.before and trainer.state.fn == "fit" and trainer.current_epoch == 1:
            with torch.no_grad():
                next(pl_module.parameters()).fill_(float("inf"))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._spoil(trainer, pl_module, "training")

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._spoil(trainer, pl_module, "validation")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "found"),
    [
        ("training", "train/loss is nan in epoch 2/3, step 9"),
        ("validation", "val/loss is nan in epoch 2/3, step 16"),
    ],
)
def test_a_training_that_diverges_ends_and_keeps_its_best_epoch(
    workspace: Path, config, capsys, before: str, found: str
) -> None:
    target = f"+callbacks.spoil._target_={__name__}.SpoilWeights"
    spoil = [target, f"+callbacks.spoil.before={before}"]
    diverging = config("tracking.mode=offline", "trainer.max_epochs=3", *spoil)
    with pytest.raises(CommandError, match=found) as first:
        train(diverging, workspace / "run")
    assert "\n" not in str(first.value)
    (run,) = tracked_runs(workspace)
    read = json.loads(inspect(run, "--summary"))
    assert read["state"] == "failed"
    assert read["summary"]["stop_reason"] == found
    assert tracked_epochs(run) == [0]
    assert len(history(workspace / "run")) == 1
    assert not (workspace / "run" / "model.ckpt").exists()

    # The same again is not trained again; another training can start from its best epoch.
    capsys.readouterr()
    with pytest.raises(CommandError) as second:
        train(diverging, workspace / "run")
    assert str(second.value) == str(first.value)
    assert capsys.readouterr().out == ""
    assert tracked_runs(workspace) == [run]
    run_id = run.stem.removeprefix("run-")
    train(config(f"train.init_from={run_id}"), workspace / "run")
    assert torch.load(workspace / "run" / "model.ckpt", weights_only=True)["epoch"] == 1


@pytest.mark.parametrize(
    ("exception", "left"), [(DivergedError("nan"), 0), (KeyboardInterrupt(), 0), (OSError(), 1)]
)
def test_where_all_processes_end_alike_lightning_does_not_kill_the_first(
    exception: BaseException, left: int
) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        started = [process]
        strategy = SimpleNamespace(launcher=SimpleNamespace(procs=started))
        EndProcesses().on_exception(SimpleNamespace(strategy=strategy), None, exception)
        assert len(started) == left
        if left:
            process.kill()


def test_a_learning_rate_far_too_large_is_one_line(workspace: Path, config) -> None:
    with pytest.raises(CommandError, match=r"train/loss is \w+ in epoch 1/2, step \d"):
        train(config("optimizer=sgd", "optimizer.lr=1e6"), workspace / "run")
    train(config("optimizer=sgd", "optimizer.lr=0.1"), workspace / "run")
    assert weights(workspace / "run")


class DefaultSignals(L.Callback):
    """Fails where Lightning answers SLURM's signal."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


@pytest.mark.skipif(sys.platform == "win32", reason="SLURM's signals are those of Unix")
def test_in_a_slurm_job_a_training_starts_where_the_config_says(
    workspace: Path, config, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(config("seed=3", "trainer.max_epochs=1"), workspace / "other")
    train(config("seed=7"), workspace / "plain")
    for name, value in {"NTASKS": "1", "JOB_NAME": "train", "JOB_ID": "1", "PROCID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    (workspace / "run").mkdir()
    for folder in (workspace / "run", workspace):
        (folder / "hpc_ckpt_1.ckpt").write_bytes((workspace / "other/model.ckpt").read_bytes())
    checked = f"+callbacks.checked._target_={__name__}.DefaultSignals"
    train(config("seed=7", checked), workspace / "run")
    assert same(weights(workspace / "run"), weights(workspace / "plain"))


def test_a_batch_script_of_slurm_starts_its_processes_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")  # srun, which would start two, did not start this
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    (processes,) = job_environment()
    assert not processes.creates_processes_externally


@pytest.mark.parametrize("tasks", ["1", "2"])
def test_slurm_gives_ranks_and_nothing_else(tasks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NTASKS", "NTASKS_PER_NODE", "NNODES"):
        monkeypatch.setenv(f"SLURM_{name}", tasks)
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    (processes,) = job_environment()
    assert processes.creates_processes_externally == (tasks == "2")
    assert not getattr(processes, "auto_requeue", False)


def test_the_metric_of_the_config_decides_everywhere(workspace: Path, config) -> None:
    by_accuracy = ["metric.name=accuracy", "metric.mode=max", "optimizer.lr=0.1"]
    best = train(config(*by_accuracy, "trainer.max_epochs=4"), workspace / "run")
    with (workspace / "run/history.csv").open(encoding="utf-8") as file:
        accuracies = [float(row["val/accuracy"]) for row in csv.DictReader(file)]
    assert best == pytest.approx(max(accuracies), abs=1e-6)
    metrics = json.loads((workspace / "run/metrics.json").read_text(encoding="utf-8"))
    assert metrics["val/accuracy"] == best
    composed = plain(config(*by_accuracy))["callbacks"]["early_stopping"]
    assert (composed["monitor"], composed["mode"]) == ("val/accuracy", "max")


def test_a_metric_that_nobody_logs_is_one_line(workspace: Path, config) -> None:
    line = "metric.name: val/mae is not logged; logged are .*train/loss, val/accuracy, val/loss"
    with pytest.raises(ConfigError, match=line):
        train(config("metric.name=mae", "~callbacks.early_stopping"), workspace / "run")
    watched = "callbacks: EarlyStopping watches val/mae, which is not logged; logged are "
    with pytest.raises(ConfigError, match=watched):
        train(config("callbacks.early_stopping.monitor=val/mae"), workspace / "run")


OTHER_SCHEDULES = [
    "constant scheduler.warmup=2",
    "cosine scheduler.interval=step scheduler.schedule.T_max=40 scheduler.warmup=10",
]
SCHEDULES = sorted(path.stem for path in (ROOT / CONF / "scheduler").glob("*.yaml"))


@pytest.mark.parametrize("schedule", [*SCHEDULES, *OTHER_SCHEDULES])
def test_a_schedule_survives_a_kill_bit_for_bit(workspace: Path, config, schedule: str) -> None:
    options = [f"scheduler={schedule.split()[0]}", *schedule.split()[1:], "trainer.max_epochs=5"]
    train(config(*options), workspace / "whole")
    interrupt = "+callbacks.interrupt._target_=test_start.InterruptOnce"
    with pytest.raises(RuntimeError, match="interrupted"):
        train(config(*options, interrupt), workspace / "killed")
    train(config(*options, interrupt), workspace / "killed")
    histories = [workspace / run / "history.csv" for run in ("whole", "killed")]
    assert histories[0].read_bytes() == histories[1].read_bytes()
    for name in ("state_dict", "lr_schedulers", "optimizer_states"):
        whole, killed = (load(workspace / run)[name] for run in ("whole", "killed"))
        assert str(whole) == str(killed), name
    used = load(workspace / "whole")["optimizer_states"][0]["param_groups"][0]["lr"]
    assert (used == 3e-3) == (schedule.split()[0] == "constant")


def test_a_schedule_that_would_not_resume_is_refused(workspace: Path, config) -> None:
    plateau = "+scheduler.schedule._target_=torch.optim.lr_scheduler.ReduceLROnPlateau"
    with pytest.raises(ConfigError, match=r"^scheduler\.schedule: ReduceLROnPlateau does not"):
        train(config(plateau), workspace / "run")


def load(run: Path) -> dict:
    return torch.load(run / "model.ckpt", weights_only=True)
