"""The experiments are read as DVC recorded them, and shown by what differs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from workflow.runs import experiments
from workflow.runs.experiments import Row

TRAIN = """
import json, pathlib, yaml
params = yaml.safe_load(open("params.yaml"))
assert params["optimizer"]["lr"] > 0, "no step"
pathlib.Path("reports").mkdir(exist_ok=True)
metrics = {"mae": 1 + params["optimizer"]["lr"], "r2": 0.5, "classes": {"cat": {"f1": 1}}}
pathlib.Path("reports/metrics.json").write_text(json.dumps(metrics))
"""
PARAMS = """
seed: 0
optimizer: {lr: 0.1, betas: [0.9, 0.99]}
metric: {name: mae, mode: min}
"""
PIPELINE = """
stages:
  train:
    cmd: PYTHON train.py
    deps: [train.py]
    params: [optimizer]
    metrics:
    - reports/metrics.json:
        cache: false
"""


MASKED = ("DVC_", "GIT_")  # of a stage or a hook that these tests run in


def call(folder: Path, *command: str) -> None:
    environment = {name: text for name, text in os.environ.items() if name[:4] not in MASKED}
    # DVC starts the workers of its queue as `dvc`, found on the PATH.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # Output is not piped: a worker lives on for a while and would keep the pipe open.
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=120)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC project with a commit and three experiments: two that ran, one that failed."""
    folder = tmp_path_factory.mktemp("project")
    pipeline = PIPELINE.replace("PYTHON", sys.executable)
    files = {"train.py": TRAIN, "params.yaml": PARAMS, "dvc.yaml": pipeline}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    dvc = (sys.executable, "-m", "dvc")
    call(folder, "git", "init", "--quiet", "--initial-branch=main")
    call(folder, "git", "config", "user.name", "Test")
    call(folder, "git", "config", "user.email", "test@example.com")
    call(folder, *dvc, "init", "--quiet")
    call(folder, "git", "add", "--all")
    call(folder, "git", "commit", "--quiet", "--message=start")
    call(folder, *dvc, "exp", "run", "--name=first", "-S", "optimizer.lr=0.2")
    call(folder, *dvc, "exp", "run", "--queue", "--name=broken", "-S", "optimizer.lr=-1")
    call(folder, *dvc, "exp", "run", "--name=second", "-S", "optimizer.lr=0.3")
    call(folder, *dvc, "exp", "run", "--run-all", "--quiet")
    return folder


@pytest.fixture(scope="module")
def rows(project: Path) -> dict[str, Row]:
    return {row.name: row for row in experiments.read(project)}


def test_commit_and_experiments_are_rows(rows: dict[str, Row]) -> None:
    assert {name: row.kind for name, row in rows.items()} == {
        "workspace": "workspace",
        "main": "commit",
        "first": "experiment",
        "second": "experiment",
        "broken": "experiment",
    }
    first = rows["first"]
    assert first.state == "success"
    assert len(first.revision) == 40
    assert first.when is not None
    assert first.params["optimizer.lr"] == 0.2
    assert first.params["optimizer.betas"] == [0.9, 0.99]
    assert first.metrics == {"mae": 1.2, "r2": 0.5}, "nested metrics are left out"


def test_failed_experiment_has_an_error_and_no_metrics(rows: dict[str, Row]) -> None:
    broken = rows["broken"]
    assert broken.state == "failed"
    assert broken.error == "AssertionError: no step", "and not that it failed"
    # DVC itself shows it with the metrics that were there when it was queued.
    assert broken.metrics == {}


def test_commit_from_before_the_first_run_has_no_metrics(rows: dict[str, Row]) -> None:
    assert rows["main"].metrics == {}
    assert rows["main"].params["optimizer.lr"] == 0.1


def test_only_differing_parameters_are_kept(rows: dict[str, Row]) -> None:
    assert experiments.differing(rows.values()) == ["optimizer.lr"]
    assert experiments.differing(rows.values(), always=["seed"]) == ["seed", "optimizer.lr"]


def test_workspace_is_known_by_the_experiment_that_lies_in_it(rows: dict[str, Row]) -> None:
    in_order = list(rows.values())
    assert experiments.current(in_order) is rows["second"]
    assert rows["workspace"] not in experiments.comparable(in_order)


def test_printed_table(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv("COLUMNS", "100")
    experiments.main([])
    printed = capsys.readouterr().out
    lines = {line.lstrip(" >").split()[0]: line for line in printed.splitlines()}
    assert lines["first"].split() == ["first", "optimizer.lr=0.2", "1.2000*", "0.5000"]
    assert lines["second"].split() == [">", "second", "optimizer.lr=0.3", "1.3000", "0.5000"]
    assert lines["main"].split() == ["main", "optimizer.lr=0.1", "-", "-"]
    assert "* best mae" in printed
    assert "dvc queue logs broken" in lines["broken:"]
    assert max(map(len, printed.splitlines())) <= 100


def row(name: str, **fields) -> Row:
    defaults = {
        "kind": "experiment",
        "revision": name,
        "when": None,
        "state": "success",
        "params": {},
        "metrics": {},
    }
    return Row(name=name, **{**defaults, **fields})


@pytest.mark.parametrize(("mode", "value"), [("min", 41.0), ("max", 57.0)])
def test_the_best_is_the_one_of_the_metric_and_direction_of_the_config(
    mode: str, value: float
) -> None:
    named = {"metric.name": "mae", "metric.mode": mode}
    rows = [
        row("here", kind="workspace", params=named, metrics={"mae": 57.0, "accuracy": 0.9}),
        row("other", params=named, metrics={"mae": 41.0, "accuracy": 0.8}),
        row("diverged", params=named, metrics={"mae": float("nan")}),
        row("old", metrics={"accuracy": 1.0}),
    ]
    metric = experiments.deciding_metric(rows)
    assert experiments.best(rows, metric) == value


def test_a_config_that_names_no_metric_has_no_best(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row("here", kind="workspace", metrics={"mae": 3.0}), row("a", metrics={"mae": 2.0})]
    assert experiments.deciding_metric(rows) is None
    Console().print(experiments.table(rows))
    printed = capsys.readouterr().out
    assert "2.0000" in printed
    assert "*" not in printed


def test_values_that_look_alike_differ() -> None:
    first = row("a", params={"x": 1, "y": None, "same": [1]})
    second = row("b", params={"x": True, "same": [1]})
    assert experiments.differing([first, second]) == ["x", "y"]


def test_a_row_without_parameters_makes_none_differ() -> None:
    assert experiments.differing([row("a", params={"x": 1}), row("b")]) == []


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("model._target_", "package.model.CNN", "CNN"),
        ("optimizer.lr", 1e-05, "1e-05"),
        ("model.hidden", [128, 64], "[128,64]"),
        ("trainer.profiler", None, "null"),
        ("data.name", "v1.2", "v1.2"),
    ],
)
def test_parameter_as_it_is_typed(name: str, value: object, text: str) -> None:
    assert experiments.param_text({name: value}, name) == text
    assert experiments.param_text({}, name) == "-"


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_outside_a_dvc_project(outside: Path) -> None:
    with pytest.raises(SystemExit, match=r"^compare: .*DVC repository.*$"):
        experiments.main([])


def test_before_the_first_commit(outside: Path) -> None:
    call(outside, "git", "init", "--quiet")
    call(outside, sys.executable, "-m", "dvc", "init", "--quiet")
    with pytest.raises(SystemExit, match=r"^compare: no commit yet: git add"):
        experiments.main([])


def test_nothing_to_compare_says_what_to_type(
    outside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(outside, "git", "init", "--quiet")
    call(outside, sys.executable, "-m", "dvc", "init", "--quiet")
    author = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    call(outside, "git", *author, "commit", "--quiet", "--message=start")
    experiments.main([])
    assert capsys.readouterr().out.splitlines() == [experiments.NOTHING]

    # A first result, which no commit has.
    (outside / "reports").mkdir()
    (outside / "reports/metrics.json").write_text('{"mae": 1}', encoding="utf-8")
    for name, text in {"params.yaml": PARAMS, "dvc.yaml": PIPELINE}.items():
        (outside / name).write_text(text, encoding="utf-8")
    experiments.main([])
    assert "git add --all && git commit" in capsys.readouterr().out
