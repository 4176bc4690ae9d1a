"""The winner of a sweep in a project, and the same search by agents of W&B."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from driving import FRAMEWORK, Project
from wandb_backend import Backend

pytestmark = pytest.mark.slow

# Of each framework: values to search, and what makes the trainings short.
SEARCHES = {
    "scikit-learn": ["model.n_estimators=5,20", "model=random_forest_classifier"],
    FRAMEWORK: ["optimizer.lr=0.1,0.01", "model=mlp", "trainer.max_epochs=3", "train.resume=never"],
}


@pytest.mark.parametrize(
    "framework", ["scikit-learn", pytest.param(FRAMEWORK, marks=pytest.mark.weekly)]
)
def test_the_winner_is_trained_to_the_value_that_its_trial_had(
    framework: str, trained_with: Callable[[str], Project], tmp_path: Path
) -> None:
    project = trained_with(framework).copy(tmp_path)
    project.run("git", "add", "--all")
    project.run("git", "commit", "--no-verify", "--quiet", "--message", "Trained")
    project.inv("sweep", "--name=tried", "--seeds=2", "--", *SEARCHES[framework])
    printed = project.inv("sweep.show")
    assert "tried: 2 finished of 2 trials; best val/loss " in printed
    assert (project.path / "reports/sweeps/tried.html").exists()
    best = json.loads(project.inv("sweep.best", "--json"))
    first, second = best["values"]
    assert first != second
    assert project.json(f"sweeps/tried/{best['trial']}/seed-0/metrics.json")["val/loss"] == first
    assert project.inv("sweep.apply").endswith("next: inv train -- experiment=tried\n")
    project.inv("train", "--", "experiment=tried")
    assert project.json("runs/train/metrics.json")["val/loss"] == first


@pytest.mark.weekly
def test_agents_of_wandb_train_what_their_server_chooses(
    trained_sklearn: Project, tmp_path: Path
) -> None:
    project = trained_sklearn.copy(tmp_path)
    with Backend(tmp_path / "server") as backend:
        variables = {"WANDB_BASE_URL": backend.url, "WANDB_API_KEY": backend.api_key}
        search = ("model.estimator.C=0.1,0.5", "tracking.tags=[swept]")
        printed = project.inv("sweep", "--name=tried", "--wandb", "--", *search)
        assert printed.endswith("next: wandb sweep sweeps/tried/wandb.yaml\n")
        assert not (project.path / "sweeps/tried/plan.json").exists()
        printed = project.run("wandb", "sweep", "sweeps/tried/wandb.yaml", variables=variables)
        agent = re.search(r"wandb agent (\S+)", printed)
        assert agent, printed
        (sweep,) = backend.sweeps.values()
        sweep.queue = [{"model.estimator.C": 0.1}, {"model.estimator.C": 0.5}]
        printed = project.run("wandb", "agent", agent[1], variables=variables)
        assert "is not used" not in printed
        found = {run.config["model"]["estimator"]["C"]: run for run in backend.runs.values()}
    assert set(found) == {0.1, 0.5}
    for value, run in found.items():
        assert (run.state, run.attributes["sweepName"]) == ("finished", sweep.name)
        assert run.attributes["tags"] == ["swept"]
        alone = f"hydra.run.dir=outputs/{value}"
        project.run("python", "-m", "my_ml_project.train", f"model.estimator.C={value}", alone)
        metrics = project.json(f"outputs/{value}/metrics.json")
        assert run.summary["val/loss"] == metrics["val/loss"]
