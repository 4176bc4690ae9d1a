"""An applied experiment lasts: conf/ composes to its values."""

import shutil
from pathlib import Path

import pytest
import yaml
from workflow.errors import CommandError
from workflow.paths import CONF, ROOT
from workflow.pipeline import apply

EXPERIMENT = Path("experiment/bold-name.yaml")


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A copy of conf/ in which no experiment is applied."""
    shutil.copytree(ROOT / CONF, tmp_path / CONF)
    config = tmp_path / CONF / apply.CONFIG
    config.write_text(apply.mention(config.read_text("utf-8"), None), encoding="utf-8")
    return tmp_path / CONF


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["model=mlp", "model.hidden=[32,32]", "precision=bf16", "seed=3", "optimizer.lr=0.01"],
        ["~callbacks.predictions_table", "callbacks.early_stopping.patience=3"],
        ["experiment=wide_mlp", "callbacks.early_stopping=null", "tracking.tags=['1', a]"],
    ],
)
def test_the_values_of_an_applied_experiment_last(overrides: list[str], conf: Path) -> None:
    target = apply.composed(conf, *overrides)
    assert apply.plan("bold-name", conf, target)
    assert apply.composed(conf) == target
    teammates = conf / "export/default.yaml"
    teammates.write_text(teammates.read_text("utf-8") + "\nmore: 1\n", encoding="utf-8")
    changed = apply.composed(conf)
    assert changed == {**target, "export": {**target["export"], "more": 1}}


def test_only_what_differs_is_written(conf: Path) -> None:
    target = apply.composed(conf, "model=mlp", "optimizer.lr=0.01")
    changes = apply.plan("bold-name", conf, target)
    assert set(changes) == {EXPERIMENT, apply.CONFIG}
    assert changes[EXPERIMENT].startswith("# @package _global_\n")
    assert yaml.safe_load(changes[EXPERIMENT]) == {
        "defaults": [{"override /model": "mlp"}],
        "optimizer": {"lr": 0.01},
    }
    assert "- experiment: bold-name # an overlay" in changes[apply.CONFIG]


def test_values_that_are_the_defaults_change_nothing(conf: Path) -> None:
    assert apply.plan("bold-name", conf, apply.composed(conf)) == {}


@pytest.mark.slow
def test_a_second_experiment_replaces_the_first(conf: Path) -> None:
    defaults = apply.composed(conf)
    second = apply.composed(conf, "optimizer.lr=0.02")
    apply.plan("bold-name", conf, apply.composed(conf, "model=mlp", "seed=1"))
    changes = apply.plan("1234567", conf, second)
    assert yaml.safe_load(changes[Path("experiment/1234567.yaml")]) == {"optimizer": {"lr": 0.02}}
    assert '- experiment: "1234567" #' in changes[apply.CONFIG]
    assert apply.composed(conf) == second
    assert set(apply.plan("third", conf, defaults)) == {apply.CONFIG}
    assert apply.composed(conf) == defaults


def test_a_config_that_names_no_experiment_is_one_line(conf: Path) -> None:
    config = conf / apply.CONFIG
    lines = [line for line in config.read_text().splitlines() if "- experiment:" not in line]
    config.write_text("\n".join(lines))
    target = apply.composed(conf, "seed=1")
    with pytest.raises(CommandError, match=r"^conf/config.yaml: .*add it$"):
        apply.plan("bold-name", conf, target)
