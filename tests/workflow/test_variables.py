"""What a training makes of the environment: nothing changes a result, or mixes runs, in silence."""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import inspect
from workflow.config.schema import plain
from workflow.variables import VariableError, check, drop_unused

# As someone has them who used W&B elsewhere, or in whose shell another training was started.
LEFT_OVER = {
    "WANDB_RUN_ID": "mine",
    "WANDB_RESUME": "must",
    "WANDB_PROJECT": "another",
    "WANDB_DIR": "elsewhere",
    "PL_GLOBAL_SEED": "9",
    "OMP_NUM_THREADS": "3",
}
RECORDED = {"WANDB_TAGS": "night,first", "WANDB_NOTES": "a note", "WANDB_NAME": "one"}


@pytest.mark.slow
def test_runs_are_not_mixed_and_what_does_not_count_is_said(
    workspace: Path, small: list[str], python: Callable[..., Any], monkeypatch
) -> None:
    for name, value in (LEFT_OVER | RECORDED).items():
        monkeypatch.setenv(name, value)
    sweep = ["-m", "my_ml_project.train", "-m", "seed=1,2", *small]
    own = ["tracking.mode=offline", "tracking.tags=[own]", "trainer.max_epochs=1"]
    with python(*sweep, *own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        printed = process.communicate()[0]
    assert process.returncode == 0, printed
    names = set(re.findall(r"^environment: (\w+) is not used: ", printed, re.MULTILINE))
    assert names == set(LEFT_OVER)
    runs = []
    for log in (workspace / "wandb").glob("offline-run-*/*.wandb"):
        runs.append(json.loads(inspect(log, "--summary")))
    assert {run["config"]["seed"] for run in runs} == {1, 2}
    assert len({run["run_id"] for run in runs} - {"mine"}) == 2
    for run in runs:
        assert run["project"] == run["config"]["tracking"]["project"]
        assert run["tags"] == ["own", "night", "first"]
        assert (run["name"], run["notes"]) == ("one", "a note")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("WANDB_MODE", "bogus", "WANDB_MODE, or mode in a settings file of W&B: Input should be"),
        ("WANDB_MODE", "shared", "WANDB_MODE: one of online, offline, disabled, and not shared"),
        ("PL_TRAINER_FAST_DEV_RUN", "1", "PL_TRAINER_FAST_DEV_RUN: values belong in conf/"),
        ("RANK", "1", "RANK=1 is set, as in one process of several, and trainer.devices is 1"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_runs(
    workspace: Path,
    python: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    message: str,
) -> None:
    monkeypatch.setenv(name, value)
    command = ["-m", "my_ml_project.train", "hydra.run.dir=run"]
    with python(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        printed = process.communicate()[0]
    assert process.returncode == 1
    assert printed.count("\n") == 1, printed
    assert printed.startswith(f"environment: {message}")
    assert not (workspace / "wandb").exists()


def test_a_variable_that_says_what_the_config_says_is_no_news(config) -> None:
    settings = plain(config("tracking.mode=auto"))
    agreed = {"PL_GLOBAL_SEED": "0", "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    agreed["WANDB_PROJECT"] = settings["tracking"]["project"]
    assert check(settings, agreed) == []
    (line,) = check(plain(config()), {"WANDB_MODE": "online"})
    assert line == "WANDB_MODE is not used: tracking.mode counts (disabled)"


def test_what_an_agent_of_wandb_sets_counts(config, monkeypatch: pytest.MonkeyPatch) -> None:
    agents = {"WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "r", "WANDB_PROJECT": "p", "WANDB_DIR": "d"}
    assert check(plain(config()), agents) == []
    variables = {**agents, "WANDB_SWEEP_PARAM_PATH": "values.yaml", "WANDB_RESUME": "must"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    drop_unused()
    rest = {name: value for name, value in os.environ.items() if name in variables}
    assert rest == agents


def test_variables_of_keras_count_in_a_project_of_keras_alone(config) -> None:
    settings = plain(config())
    of_keras = {"KERAS_BACKEND": "torch", "NPROC": "3", "KERAS_HOME": "x", "JAX_PLATFORMS": "cpu"}
    assert check(settings, of_keras | {"KERAS_MAX_EPOCHS": "1"}) == []
    settings |= {"framework": "keras", "backend": "jax"}
    assert check(settings, of_keras | {"PL_TRAINER_MAX_TIME": "x"}) == [
        "KERAS_BACKEND is not used: backend counts (jax)",
        "NPROC is not used: trainer.threads counts (1)",
    ]
    for name in ("KERAS_MAX_EPOCHS", "KERAS_TORCH_DEVICE", "JAX_DEFAULT_MATMUL_PRECISION"):
        with pytest.raises(VariableError, match=f"^{name}: .*; unset it$"):
            check(settings, {name: "1"})


def test_what_would_make_a_run_a_part_of_another_is_refused(workspace: Path, config) -> None:
    for name in ("WANDB_SWEEP_ID", "WANDB_FORK_FROM", "PL_TRAINER_MAX_TIME"):
        with pytest.raises(VariableError, match=f"^{name}: .*; unset it$"):
            check(plain(config()), {name: "x"})
    Path("config-defaults.yaml").touch()
    with pytest.raises(VariableError, match=r"^config-defaults\.yaml: .*; remove it$"):
        check(plain(config()), {})


def test_inv_does_not_hand_on_what_dvc_set_for_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    from workflow.tasks.shell import OF_A_STAGE, environment

    for name in OF_A_STAGE:
        monkeypatch.setenv(name, "left over")
    assert not set(environment()) & set(OF_A_STAGE)
    assert os.environ["DVC_EXP_NAME"] == "left over"
