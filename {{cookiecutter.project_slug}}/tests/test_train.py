"""Training: what a run leaves behind, that it repeats, and that it survives being killed."""

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from {{ cookiecutter.package_name }}.resume import Training
from {{ cookiecutter.package_name }}.train import train

# Enough steps to be killed in the middle of.
LONG = ["loader.batch_size=1", "trainer.max_epochs=6", "tracking.mode=offline"]


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(run_dir / "model.ckpt", weights_only=True)["state_dict"]


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def history(run_dir: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run_dir / "history.csv").open(encoding="utf-8")))


def tracked_runs(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*/*.wandb"))


def inspect(run: Path, *flags: str) -> str:
    """Read an offline run back with W&B's own reader."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *flags, "--json", str(run)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout


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


def test_offline_run_holds_config_provenance_and_measures(workspace: Path, config) -> None:
    (workspace / "data" / "images.dvc").write_text("outs: [{md5: 1f00, path: images}]")
    (workspace / "data" / "scans").mkdir()
    (workspace / "data" / "scans" / "old.dvc").write_text("outs: [{md5: 2e00, path: old}]")
    train(config("tracking.mode=offline", "seed=7"), workspace / "run")
    (run,) = tracked_runs(workspace)
    read = json.loads(inspect(run, "--summary"))
    assert read["state"] == "finished"
    assert read["config"]["seed"] == 7
    assert read["config"]["trainer"]["max_epochs"] == 2
    made_from = read["config"]["provenance"]
    assert made_from["seed"] == 7
    assert made_from["python"].startswith("3.")
    assert made_from["data"] == {"data/images": "1f00", "data/scans/old": "2e00"}
    assert {"git", "config", "lock", "threads"} <= made_from.keys()
    metrics = json.loads((workspace / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert read["summary"]["val/loss"] == pytest.approx(metrics["val/loss"])
    assert tracked_epochs(run) == [0, 1]


def tracked_epochs(run: Path) -> list[int]:
    """The epochs in the history of an offline run, in order."""
    rows = [json.loads(line) for line in inspect(run).splitlines()]
    items = [row["history"]["item"] for row in rows if row["type"] == "history"]
    return [item["epoch"] for item in items if "epoch" in item]


@pytest.mark.parametrize("loader", ["memory", "workers"])
def test_killed_run_goes_on_as_if_nothing_had_happened(
    workspace: Path, small: list[str], config, python: Callable[..., Any], loader: str
) -> None:
    long = [f"loader={loader}", *LONG]
    run_dir = workspace / "run"
    module = "{{ cookiecutter.package_name }}.train"
    with python("-m", module, f"hydra.run.dir={run_dir}", *small, *long) as process:
        while not (run_dir / "history.csv").exists() or len(history(run_dir)) < 3:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        process.kill()
    assert len(history(run_dir)) < 6
    assert not (run_dir / "metrics.json").exists()
    state = json.loads((run_dir / "unfinished" / "state.json").read_text(encoding="utf-8"))

    train(config(*long), run_dir)
    logs = tracked_runs(workspace)  # of the killed process, and of the one that went on
    assert [log.stem for log in logs] == 2 * [f"run-{state['run_id']}"]
    assert [epoch for log in logs for epoch in tracked_epochs(log)] == list(range(6))

    train(config(*long), workspace / "whole")
    assert same(weights(run_dir), weights(workspace / "whole"))
    for file in ("metrics.json", "history.csv"):
        assert (run_dir / file).read_bytes() == (workspace / "whole" / file).read_bytes()


class Interrupt(L.Callback):
    """Ends the training in its second epoch."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 1:
            raise RuntimeError("interrupted")


def test_interrupted_run_of_another_config_starts_anew(workspace: Path, config, capsys) -> None:
    with pytest.raises(RuntimeError, match="interrupted"):
        train(config(f"+callbacks.interrupt._target_={__name__}.Interrupt"), workspace / "run")
    assert (workspace / "run" / "unfinished").exists()

    train(config("seed=1"), workspace / "run")
    assert "starting anew" in capsys.readouterr().out
    assert [row["epoch"] for row in history(workspace / "run")] == ["0", "1"]
    train(config("seed=1"), workspace / "whole")
    assert same(weights(workspace / "run"), weights(workspace / "whole"))


def test_run_killed_after_early_stopping_trains_no_further(
    workspace: Path, config, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops_early = config(
        "optimizer.lr=0.05", "trainer.max_epochs=30", "callbacks.early_stopping.patience=1"
    )
    train(stops_early, workspace / "whole")
    assert len(history(workspace / "whole")) < 30

    def killed(_: Training) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "end", killed)
        with pytest.raises(KeyboardInterrupt):
            train(stops_early, workspace / "again")
    train(stops_early, workspace / "again")
    assert history(workspace / "again") == history(workspace / "whole")
    assert same(weights(workspace / "again"), weights(workspace / "whole"))
