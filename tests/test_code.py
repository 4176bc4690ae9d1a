"""Code is a dependency: what a stage imports re-runs it, and what serves re-runs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from driving import Project, stages_run

pytestmark = pytest.mark.slow


def test_a_new_module_of_the_model_trains_again_and_one_of_serving_does_not(
    trained_sklearn: Project, tmp_path: Path
) -> None:
    project = trained_sklearn.copy(tmp_path)
    package = project.path / "my_ml_project"
    recorded = (project.path / "dvc.lock").read_text("utf-8")

    with (project.path / "workflow/serving/routes.py").open("a", encoding="utf-8") as file:
        file.write("# another comment\n")
    assert "nothing changed" in project.inv("train")

    (package / "sizes.py").write_text("SIZE = 3\n", "utf-8")
    model = package / "model.py"
    use = "\n\ndef size() -> int:\n    from .sizes import SIZE\n\n    return SIZE\n"
    model.write_text(model.read_text("utf-8") + use, "utf-8")
    for task in (["train"], ["exp.queue", "--", "seed=1"]):
        refused = project.inv(*task, code=1)
        assert refused.strip().splitlines() == [
            "dvc.yaml: deps lack my_ml_project/sizes.py in train; my_ml_project/sizes.py in export:"
            " inv check --fix adds them"
        ]
    assert (project.path / "dvc.lock").read_text("utf-8") == recorded

    printed = project.run("python", "-m", "workflow.stage_code", "--fix")
    assert "dvc.yaml: train: my_ml_project/sizes.py added" in printed
    assert "train" in stages_run(project.inv("train"))
    assert "my_ml_project/sizes.py" in (project.path / "dvc.lock").read_text("utf-8")
    (package / "sizes.py").write_text("SIZE = 4\n", "utf-8")
    assert "Running stage 'train'" in project.run("dvc", "repro", "--dry", "train")
