"""Sweeps of real trainings, driven as people do: killed, failing, pruned and resumed."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest
from sweeping import run_killed, runs, trials

if TYPE_CHECKING:
    from pathlib import Path

    from driving import Project

pytestmark = pytest.mark.slow


def require_exact(project: Project, name: str, number: int) -> list[str]:
    """Require each trial to be there once, finished, with the value of its own training.

    Returns:
        What each training has printed.
    """
    found = trials(project, name)
    assert [trial["number"] for trial in found] == [*range(number)]
    assert {trial["state"] for trial in found} <= {"COMPLETE", "PRUNED"}
    for trial in found:
        if trial["state"] == "COMPLETE":
            assert trial["results"] == trial["values"] == [trial["value"]]
    runs = [run["id"] for trial in found for run in trial["run"]]
    assert len({*runs}) == number
    folder = project.path / "sweeps" / name
    return [(folder / str(n) / "seed-0/log.txt").read_text("utf-8") for n in range(number)]


def test_a_sweep_that_is_killed_ends_with_each_trial_once(
    begun_sklearn: Project, tmp_path: Path
) -> None:
    project = begun_sklearn.copy(tmp_path)
    name = f"kill-{uuid.uuid4().hex[:8]}"
    options = ["--search", "digits", "--trials", "5", "--jobs", "2"]
    killed = run_killed(project, name, options, kills=5, seed=0, pause=1.0)
    assert {"driver", "worker", "trial"} <= {*killed}
    require_exact(project, name, 5)
    logged = sorted(runs(project).values())
    assert [(group, label) for group, label, _ in logged] == [
        (name, f"{name}-{n}") for n in range(5)
    ]
    printed = project.inv("sweep", "--name", name)
    assert re.search(rf"sweep {name}: 5 trials: 5 finished\nbest: trial \d, val/loss 0\.", printed)
    assert f"next: inv sweep.show --name {name}, inv sweep.apply --name {name}\n" in printed


@pytest.mark.weekly
@pytest.mark.parametrize("seed", range(10))
def test_trainings_that_are_killed_are_resumed(begun: Project, tmp_path: Path, seed: int) -> None:
    project = begun.copy(tmp_path)
    name = f"kill-{uuid.uuid4().hex[:8]}"
    options = ["--search", "digits", "--trials", "6", "--jobs", "2", "--", "trainer.max_epochs=30"]
    killed = run_killed(project, name, options, kills=7, seed=seed, pause=2.0, epochs=True)
    assert {"driver", "worker", "trial"} <= {*killed}
    logs = require_exact(project, name, 6)
    resumed = [log for log in logs if "resuming the interrupted run" in log]
    assert resumed, killed


def test_a_grid_with_seeds_and_a_failing_point(begun_sklearn: Project, tmp_path: Path) -> None:
    project = begun_sklearn.copy(tmp_path)
    # `l2` goes with every solver, and `l1` not with lbfgs: the estimator itself says so.
    command = ["sweep", "--name", "mine", "--seeds", "2", "--", "+model.estimator.solver=lbfgs"]
    printed = project.inv(*command, "+model.estimator.penalty=l2,l1")
    assert "sweep mine: grid of 2 trials, 2 seeds each" in printed
    assert re.search(r"trial 1: failed: .*l1.*\[2/2\]", printed)
    assert "2 trials: 1 finished, 1 failed" in printed
    found = trials(project, "mine")
    assert len(found[0]["values"]) == 2
    assert found[0]["value"] == sum(found[0]["values"]) / 2
    assert "l1" in found[1]["error"]
    names = {label for group, label, _ in runs(project).values() if group == "mine"}
    assert {"mine-0-seed-0", "mine-0-seed-1"} <= names


SEARCH = """
space:
  optimizer.lr: 0.003,1e-06
pruner:
  _target_: optuna.pruners.ThresholdPruner
  upper: 2.0
  n_warmup_steps: 1
"""


def test_a_pruned_training_stops_cleanly_and_can_be_resumed(begun: Project, tmp_path: Path) -> None:
    project = begun.copy(tmp_path)
    (project.path / "conf/search/mine.yaml").write_text(SEARCH, encoding="utf-8")
    printed = project.inv("sweep", "--search", "mine", "--", "trainer.max_epochs=12")
    assert re.search(r"trial 1: pruned after epoch \d+   optimizer.lr=1e-06   \[2/2\]", printed)
    kept, pruned = trials(project, "mine")
    assert (kept["state"], pruned["state"]) == ("COMPLETE", "PRUNED")
    assert len(kept["reports"]) > len(pruned["reports"]) > 1
    (run,) = pruned["run"]
    tracked = runs(project)
    assert tracked[run["id"]] == ["mine", "mine-1", ["pruned"]]
    assert tracked[kept["run"][0]["id"]][2] == []
    # Its checkpoint is there, for a training that goes on to the end.
    values = [f"train.resume={run['id']}", "optimizer.lr=1e-06", "trainer.max_epochs=12"]
    printed = project.run("python", "-m", "my_ml_project.train", *values)
    assert f"resuming from {run['id']} after epoch" in printed
    assert "epoch 12/12" in printed
