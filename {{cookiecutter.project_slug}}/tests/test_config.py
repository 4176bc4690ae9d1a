"""The config: every file of conf/ composes, and a mistake in it is named."""

import inspect
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hydra.utils import get_class
from omegaconf import OmegaConf

from {{ cookiecutter.package_name }} import paths
from {{ cookiecutter.package_name }}.compose import compose, expand
from {{ cookiecutter.package_name }}.paths import CONF, ROOT
from {{ cookiecutter.package_name }}.schema import TARGETS, ConfigError
from {{ cookiecutter.package_name }}.tracking import provenance
from {{ cookiecutter.package_name }}.train import train

GROUPS = [
    *("callbacks", "data", "export", "loader", "model"),
    *("optimizer", "precision", "serving", "tracking", "trainer"),
]


def options(group: str) -> list[str]:
    """The names of the files in a folder of conf/."""
    return sorted(path.stem for path in (ROOT / CONF / group).glob("*.yaml"))


@pytest.mark.parametrize(
    "override",
    [f"{group}={name}" for group in ("experiment", "debug") for name in options(group)],
)
def test_committed_experiment_trains(override: str, workspace: Path, config) -> None:
    limits = ["max_epochs=1", "limit_train_batches=1", "limit_val_batches=1"]
    train(config(override, *(f"trainer.{limit}" for limit in limits)), workspace / "run")
    assert (workspace / "run" / "model.ckpt").exists()


@pytest.mark.parametrize(
    "override", [f"{group}={name}" for group in GROUPS for name in options(group)]
)
def test_every_option_composes(override: str, config) -> None:
    config(override)


def test_every_group_is_tested() -> None:
    folders = {path.name for path in (ROOT / CONF).iterdir() if path.is_dir()}
    assert folders - {"experiment", "debug", "hydra"} == set(GROUPS)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.max_epoch=3", ["trainer.max_epoch", "max_epochs", "command line"]),
        ("+loader.batchsize=3", ["loader.batchsize", "batch_size", "command line"]),
        ("+model.droput=0.5", ["model.droput", "dropout", "command line"]),
        ("trainer.max_epochs=many", ["trainer.max_epochs", "many", "command line"]),
        ("trainer.max_epochs=0", ["trainer.max_epochs", "at least 1", "command line"]),
        ("data.test_share=1.5", ["data.test_share", "between 0 and 1", "command line"]),
        ("model=ccn", ["model", "conf/model/ccn.yaml", "did you mean cnn"]),
        ("tracking.mode=ofline", ["tracking.mode", "offline", "command line"]),
        ("optimzer=sgd", ["optimzer", "optimizer"]),
    ],
)
def test_mistake_on_the_command_line_is_named(override: str, said: list[str], config) -> None:
    with pytest.raises(ConfigError) as refused:
        config(override)
    for words in said:
        assert words in str(refused.value)


@pytest.mark.parametrize(
    ("file", "key", "value", "said"),
    [
        ("trainer/cpu.yaml", "max_epoch", 3, ["trainer.max_epoch", "did you mean max_epochs"]),
        ("loader/memory.yaml", "batch_size", "big", ["loader.batch_size", "big"]),
        ("model/cnn.yaml", "chanels", [1, 2], ["model.chanels", "did you mean channels"]),
        ("tracking/wandb.yaml", "mode", "on", ["tracking.mode", "'on' is not one of"]),
    ],
)
def test_mistake_in_a_file_is_named(
    file: str, key: str, value: object, said: list[str], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(ROOT / CONF, tmp_path / CONF))
    content = OmegaConf.load(folder / file)
    content[key] = value
    OmegaConf.save(content, folder / file)
    with pytest.raises(ConfigError) as refused:
        compose(folder=folder)
    for words in [*said, f"conf/{file}"]:
        assert words in str(refused.value)


def test_schema_agrees_with_the_classes() -> None:
    for target, schema in TARGETS.items():
        parameters = inspect.signature(get_class(target)).parameters
        required = {
            name
            for name, parameter in parameters.items()
            if parameter.default is parameter.empty and name != "params"
        }
        names = {field.name for field in fields(schema)}
        assert required <= names <= set(parameters), target


def test_seed_0_is_recorded(workspace: Path, config) -> None:
    assert provenance.collect(OmegaConf.to_container(config("seed=0"), resolve=True))["seed"] == 0


def test_grid_stands_for_every_combination() -> None:
    experiments = expand(["optimizer.lr=0.1,0.01", "model=cnn,mlp", "seed=1"])
    assert len(experiments) == 4
    assert ["optimizer.lr=0.01", "model=mlp", "seed=1"] in experiments


def test_dvc_yaml_names_the_paths_of_the_code() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    outs = set()
    for stage in stages.values():
        for kind in ("outs", "metrics", "plots"):
            for out in stage.get(kind, []):
                outs.add(out if isinstance(out, str) else next(iter(out)))
    written = ["PARAMS", "RAW_DATA", "PREPARED_DATA", "CHECKPOINT", "HISTORY", "MODEL"]
    written += ["METRICS", "PREDICTIONS", "WORST_MISTAKES"]
    assert {getattr(paths, name).as_posix() for name in written} <= outs


def test_dvc_yaml_depends_on_keys_that_exist(config) -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name, stage in stages.items():
        for key in stage.get("params", []):
            assert OmegaConf.select(config(), key) is not None, f"{name}: {key}"


def test_no_secret_is_read_into_the_config() -> None:
    # The composed config is written to params.yaml, which Git keeps.
    for path in (ROOT / CONF).rglob("*.yaml"):
        assert "oc.env" not in path.read_text(encoding="utf-8"), path


def test_fused_optimizer_cannot_clip_gradients_in_bf16(config) -> None:
    clip = ["precision=bf16", "trainer.gradient_clip_val=1.0"]
    with pytest.raises(ConfigError, match=r"optimizer\.fused: must be false"):
        config(*clip)
    config(*clip, "optimizer.fused=false")
    config("trainer.gradient_clip_val=1.0")
