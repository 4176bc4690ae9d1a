"""What a stage imports is among its deps, and nothing that only serves, deploys or tracks."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import grimp
import pytest
from workflow.paths import ROOT
from workflow.stage_code import RECORDS, decides, files, missing, read

COPIED = ["conf", "my_ml_project", "workflow"]
NUMBERS = {"numpy", "torch", "lightning", "sklearn", "onnx", "onnxruntime"}
ASIDE = (*RECORDS, "workflow.tracking")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The code of the project, for one test to change."""
    for name in COPIED:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    return tmp_path


@pytest.fixture
def code(project: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the check in the project."""

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "workflow.stage_code", *options]
        variables = {"PYTHONPATH": str(project)}
        return subprocess.run(
            command, cwd=project, env=variables, capture_output=True, encoding="utf-8"
        )

    return run


def extend(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def test_a_new_project_lists_all_its_code() -> None:
    assert missing() == {}
    assert {stage.name for stage in read()} >= {"fetch", "prepare", "train", "export", "evaluate"}


def test_a_module_that_a_module_imports_is_named_and_written_into_dvc_yaml(project, code) -> None:
    package = project / "my_ml_project"
    (package / "blocks").mkdir()
    (package / "blocks" / "__init__.py").write_text('"""Runs nothing."""\n')
    (package / "blocks" / "pooling.py").write_text("from ..sizes import SIZE\n")
    (package / "sizes.py").write_text("SIZE = 3\n")
    extend(package / "model.py", "\n\ndef pool():\n    from .blocks import pooling\n")
    before = (project / "dvc.yaml").read_text(encoding="utf-8")

    refused = code()
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith("dvc.yaml: deps lack ")
    assert "my_ml_project/blocks/pooling.py, my_ml_project/sizes.py in train" in line
    assert line.endswith("inv check --fix adds them")
    assert "__init__" not in line

    assert "train: my_ml_project/sizes.py added" in code("--fix").stdout
    assert code().returncode == 0
    after = (project / "dvc.yaml").read_text(encoding="utf-8")
    added = [line for line in after.splitlines() if line not in before.splitlines()]
    assert {line.strip(" -") for line in added} == {
        "my_ml_project/blocks/pooling.py",
        "my_ml_project/sizes.py",
    }
    assert [line for line in after.splitlines() if line not in added] == before.splitlines()

    (package / "sizes.py").unlink()
    (package / "blocks" / "pooling.py").write_text("")
    assert "sizes.py removed: there is no such file" in code("--fix").stdout
    assert "sizes.py" not in (project / "dvc.yaml").read_text(encoding="utf-8")


def test_a_module_that_only_conf_names_counts_where_its_key_is_read(project, code) -> None:
    package = project / "my_ml_project"
    (package / "blur.py").write_text("")
    (package / "warm.py").write_text("")
    callback = "blur:\n  _target_: my_ml_project.blur.Blur\n"
    (project / "conf/callbacks/blur.yaml").write_text(callback)
    overlay = "# @package _global_\nexport:\n  writer:\n    _target_: my_ml_project.warm.Writer\n"
    (project / "conf/experiment/warm.yaml").write_text(overlay)
    refused = code().stderr
    assert "my_ml_project/blur.py in train" in refused
    assert "my_ml_project/warm.py in export" in refused
    code("--fix")
    assert code().returncode == 0


def test_a_file_that_cannot_be_parsed_is_named_in_one_line(project, code) -> None:
    extend(project / "my_ml_project" / "model.py", "\ndef (:\n")
    refused = code()
    assert refused.returncode == 1
    assert "model.py" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_what_serves_deploys_or_tracks_is_no_code_of_a_training() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in files("train")}
    assert {"my_ml_project/train.py", "my_ml_project/model.py"} <= names
    assert {"workflow/lightning/callbacks.py", "workflow/deciding_metric.py"} <= names
    of_workflow = {name for name in names if name.startswith("workflow/")}
    others = {name for name in of_workflow if not name.startswith("workflow/lightning/")}
    assert others == {
        *("workflow/batch_order.py", "workflow/deciding_metric.py"),
        *("workflow/prepared.py", "workflow/shards.py"),
    }
    assert not names & {
        "workflow/lightning/wandb_callbacks.py",
        "my_ml_project/evaluate.py",
        "my_ml_project/__init__.py",
    }


def test_the_workflow_computes_nothing_that_a_stage_uses_and_its_deps_leave_out() -> None:
    graph = grimp.build_graph(
        "my_ml_project", "workflow", include_external_packages=True, cache_dir=None
    )
    for stage in read():
        for module in stage.modules:
            for used in graph.find_modules_directly_imported_by(module):
                if used.startswith("workflow.") and not decides(used):
                    imported = graph.find_modules_directly_imported_by(used)
                    counts_not = used.startswith(ASIDE) or not imported & NUMBERS
                    assert counts_not, f"is {used} in DECIDES?"


@pytest.mark.parametrize("name", RECORDS)
def test_the_table_names_modules_of_the_workflow(name: str) -> None:
    assert ROOT.joinpath(*name.split(".")).with_suffix(".py").exists(), name


def test_only_the_part_of_a_framework_needs_it() -> None:
    program = """
import importlib, pathlib, sys
sys.modules |= dict.fromkeys(("keras", "lightning", "skl2onnx", "torch"))
for path in sorted(pathlib.Path("workflow").rglob("*.py")):
    own = path.name == "drift.py"  # it has an environment of its own
    if not own and not {"keras", "lightning", "scikit_learn"} & {*path.parts[:2]}:
        importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
assert "wandb.apis.public" not in sys.modules, "it takes long, and only uploads need it"
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_the_readme_lists_what_the_contract_lets_the_package_import() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    (allowed,) = [c["ignore_imports"] for c in contracts["contracts"] if "public" in c["name"]]
    readme = (ROOT / "workflow" / "README.md").read_text("utf-8")
    listed = re.findall(r"^\| `(workflow\.[\w.*]+)` \|", readme, re.MULTILINE)
    assert [name.replace(".*", "") for name in listed] == [
        line.partition(" -> ")[2].replace(".**", "") for line in allowed
    ]
