"""The config: every file of conf/ composes, and a mistake in it is named."""

import copy
import inspect
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

import jsonschema
import lightning
import pytest
import torch
import wandb
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.utils import get_class
from lightning.fabric.plugins.precision.precision import _PRECISION_INPUT_STR
from lightning.fabric.utilities.seed import max_seed_value
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.strategies import StrategyRegistry
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from running import train
from workflow import paths
from workflow.config import json_schema
from workflow.config.compose import compose, expand
from workflow.config.groups import LARGEST_SEED
from workflow.config.pytorch import NOT_IN_TRAINER, Config, Trainer
from workflow.config.schema import plain, validate
from workflow.config.signatures import signature
from workflow.config.targets import check_nodes, signature_of
from workflow.config.values import ConfigError, Signature, declared_in
from workflow.lightning.session import OWN
from workflow.paths import CONF, ROOT
from workflow.pipeline.params import check, main
from workflow.tracking import provenance

GROUPS = [
    *("callbacks", "data", "export", "loader", "model"),
    *("optimizer", "precision", "scheduler", "tracking", "trainer"),
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
    others = {"experiment", "debug", "hydra", "cluster", "resources", "search", "serving"}
    assert folders - others == set(GROUPS)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("trainer.max_epoch=3", ["trainer.max_epoch", "max_epochs", "command line"]),
        ("+loader.batchsize=3", ["loader.batchsize", "batch_size", "command line"]),
        ("+model.droput=0.5", ["model.droput", "dropout", "command line"]),
        ("trainer.max_epochs=many", ["trainer.max_epochs", "many", "command line"]),
        ("trainer.max_epochs=0", ["trainer.max_epochs", "at least 1", "command line"]),
        ("data.test_fraction=1.5", ["data.test_fraction", "above 0 and below 1", "command line"]),
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
        ("tracking/wandb.yaml", "mode", "on", ["tracking.mode", '"on" is not one of']),
        # As in conf/ of a project from before data declared its inputs.
        (
            "model/cnn.yaml",
            "inputs",
            "${data.image_shape}",
            ["model.inputs: ${data.image_shape}: "],
        ),
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


def keys(signature: Signature, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of a signature, and the type of each value or item."""
    for name, parameter in signature.parameters.items():
        declared = parameter.declared()
        if is_dataclass(declared):
            yield from keys(declared_in(declared), f"{prefix}{name}.")
            continue
        while get_args(declared) and declared not in NEARLY:
            declared = get_args(declared)[0]
        yield f"{prefix}{name}", declared


# What is nearly of a type, and would become a value of it.
NEARLY = {
    str: (False, 7, 1.5),
    int: ("7", 7.0, True),
    float: ("0.5", True, float("nan")),
    bool: ("yes", 1, "true"),
}


def test_no_value_of_another_type_is_converted(config) -> None:
    settings = config("optimizer=sgd", "+optimizer.nesterov=false")
    signatures = [("", declared_in(Config))]
    for group in ("model", "optimizer", "callbacks.early_stopping", "callbacks.predictions_table"):
        signatures.append(
            (f"{group}.", signature_of(OmegaConf.select(settings, group)["_target_"]))
        )
    seen = set()
    for key, kind in (found for prefix, one in signatures for found in keys(one, prefix)):
        for value in NEARLY.get(kind, ()):
            changed = copy.deepcopy(settings)
            before = OmegaConf.select(changed, key)
            if OmegaConf.is_list(before):
                value = [value] * max(len(before), 1)
            OmegaConf.update(changed, key, value, force_add=True)
            with pytest.raises(ConfigError, match=f"^{key}: "):
                validate(changed)
            seen.add(kind)
    assert seen == set(NEARLY)


@pytest.mark.parametrize(
    ("file", "before", "after", "said"),
    [
        ("trainer/cpu.yaml", "devices: 1", "devices: [1", "conf/trainer/cpu.yaml, line "),
        ("trainer/cpu.yaml", "devices: 1", "\tdevices: 1", "conf/trainer/cpu.yaml, line "),
        ("config.yaml", "seed: 0", "seed: 0\nseed: 1", "found duplicate key seed"),
        ("config.yaml", "trainer: cpu", "trainer: cpus", "no conf/trainer/cpus.yaml; did you mean"),
        (
            "model/cnn.yaml",
            "{data.target}",
            "{data.tarket}",
            "no key data.tarket; did you mean target?",
        ),
    ],
)
def test_file_that_cannot_be_read_is_named(
    file: str, before: str, after: str, said: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(ROOT / CONF, tmp_path / CONF))
    content = (folder / file).read_text(encoding="utf-8")
    assert before in content
    (folder / file).write_text(content.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        compose(folder=folder)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[no, yes]", "false is not text; quote it"),
        ("[1, 2]", "1 is not text; quote it"),
        ('["1", 1:30]', "90 is not text; quote it"),
        ("[1.0, '2.0']", "1.0 is not text; quote it"),
        ("[cat, cat]", "at least two different names"),
        ("[cat]", "at least two different names"),
        ("['', cat]", "at least two different names"),
    ],
)
def test_class_names_are_kept_as_written_or_refused(text: str, said: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ROOT / CONF, tmp_path / CONF))
    name = options("data")[0]
    file = folder / "data" / f"{name}.yaml"
    lines = file.read_text(encoding="utf-8").splitlines()
    lines = [f"  names: {text}" if line.startswith("  names:") else line for line in lines]
    file.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        compose([f"data={name}"], folder)
    for words in ("data.target.names", said, f"conf/data/{name}.yaml"):
        assert words in str(refused.value)


def test_words_that_yaml_reads_otherwise_reach_every_stage_as_written(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["no", "yes", "on", "null", "~", "1e3", "1:30", "0x10", "1_000", "2024-01-01", "true"]
    quoted = ",".join(f'"{word}"' for word in words)
    composed = compose([f"data.target.names=[{quoted}]"], ROOT / CONF)
    paths.PARAMS.write_text(OmegaConf.to_yaml(composed), encoding="utf-8")
    read = compose_params(workspace)
    validate(read)
    assert list(read.data.target.names) == list(read.model.target.names) == words


def compose_params(folder: Path) -> DictConfig:
    """Read params.yaml as the stages do."""
    with initialize_config_dir(str(folder), version_base="1.3"):
        return hydra_compose("params")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ([], "columns: must have at least one column"),
        (["age"], "columns: age is not a column: `name: age`"),
        ([{"unit": "m"}], "columns: column one without a name: name: is missing"),
        ([{"name": "age", "rnge": [0, 1]}], "column age: rnge: no such key; did you mean range"),
        ([{"name": "age", "range": [9, 1]}], "must be the lowest and the highest value"),
        ([{"name": "age", "choices": ["old"]}], "at least two different names"),
        ([{"name": "age", "choices": [1, 2]}], "1 is not text; quote it"),
        ([{"name": "age", "choices": ["a", "b"], "range": [0, 1]}], "leave one out"),
        ([{"name": "age"}, {"name": "age"}], "age names two arrays of data/raw/"),
        ([{"name": "target"}], "target names two arrays of data/raw/"),
    ],
)
def test_column_that_is_declared_wrong_is_named(columns: list, said: str, config) -> None:
    settings = config()
    settings.data.inputs = {"table": {"kind": "features", "columns": columns}}
    with pytest.raises(ConfigError, match=f"^data.inputs.*{re.escape(said)}"):
        validate(settings)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("seed", [-1, 2**32]),
        ("data.name", ["", "a/b"]),
        ("data.validation_fraction", [0, 1]),
        ("data.inputs.images.rows", [0, 1.5]),
        ("data.inputs.images.channels", [0]),
        ("data.inputs.images.max_value", [0, 2**24 + 1]),
        ("data.inputs.images.kind", ["picture", None]),
        ("data.inputs.Two words", [{"kind": "text", "length": 8}]),
        ("data.inputs.comment", [{}, None, "text"]),
        ("data.inputs.target", [{"kind": "features", "columns": [{"name": "age"}]}]),
        ("data.target.kind", ["number"]),
        ("loader.batch_size", [0, -1, 2**63]),
        ("loader.workers", [-1]),
        ("model.channels", [[16], [0, 32]]),
        ("model.dropout", [-0.1, 1.0, 1.5]),
        ("optimizer.lr", [-0.1, float("inf")]),
        ("optimizer.weight_decay", [-1e-4]),
        ("optimizer.betas", [[0.9], [0.9, 1.0], [-0.1, 0.9]]),
        ("trainer.accelerator", ["banana", "CPU"]),
        ("trainer.devices", [0, -2, "two", True, 1.5, [], [0, 0], [-1], -1, [0]]),
        ("trainer.strategy", ["banana", "fsdp"]),
        ("trainer.precision", ["banana", "64", 64, "bf16", "16-true"]),
        ("trainer.max_epochs", [0, -1]),
        ("trainer.gradient_clip_val", [-1.0]),
        ("trainer.accumulate_grad_batches", [0]),
        ("trainer.limit_train_batches", [0, -1, 0.0, 1.5, True, "all"]),
        ("trainer.limit_val_batches", [0, 0.0]),
        ("trainer.log_every_n_steps", [0]),
        ("trainer.profiler", ["banana"]),
        ("trainer.deterministic", ["yes", 2]),
        ("trainer.threads", [0]),
        ("callbacks.early_stopping.patience", [-1]),
        ("callbacks.early_stopping.min_delta", [-0.1]),
        ("callbacks.early_stopping.mode", ["least", "max"]),
        ("metric.name", ["", "val/loss"]),
        ("metric.mode", ["least"]),
        ("scheduler.warmup", [-1]),
        ("scheduler.interval", ["batch"]),
        ("callbacks.predictions_table.rows", [0]),
        ("tracking.project", ["", "a/b", "x" * 129]),
        ("tracking.tags", [[""], ["x" * 65]]),
        ("export.samples", [-1]),
    ],
)
def test_value_out_of_range_is_refused_before_anything_runs(key: str, values: list, config) -> None:
    composed = config()
    for value in values:
        changed = copy.deepcopy(composed)
        OmegaConf.update(changed, key, value, force_add=True)
        with pytest.raises(ConfigError, match=f"^{key}: "):
            validate(changed)


def test_early_stopping_follows_the_metric_of_the_config(config) -> None:
    composed = config("metric.name=accuracy", "metric.mode=max").callbacks.early_stopping
    assert (composed.monitor, composed.mode) == ("val/accuracy", "max")
    with pytest.raises(ConfigError, match=r"early_stopping\.mode: must be min, as metric\.mode"):
        config("callbacks.early_stopping.mode=max")


def test_values_at_the_ends_of_their_ranges_are_accepted(config) -> None:
    config(
        f"seed={LARGEST_SEED}",
        "model.dropout=0.0",
        "optimizer.lr=0",
        "trainer.gradient_clip_val=0",
        "trainer.limit_train_batches=1.0",
        "trainer.limit_val_batches=1",
        "trainer.devices=auto",
        "trainer.deterministic=warn",
        "callbacks.early_stopping.patience=0",
        "export.samples=0",
    )


def test_choices_and_limits_are_those_of_the_libraries() -> None:
    def choices(key: str) -> set[str]:
        declared = next(field.type for field in fields(Trainer) if field.name == key)
        return set(get_args(declared)[1].choices)

    assert choices("precision") <= set(get_args(_PRECISION_INPUT_STR))
    assert choices("strategy") - {"auto"} <= set(StrategyRegistry.available_strategies())
    known = set(AcceleratorRegistry.available_accelerators())
    assert choices("accelerator") - {"auto", "gpu"} == known
    assert max_seed_value == LARGEST_SEED
    wandb.Settings(project="x" * 128, run_tags=("x" * 64,))
    for character in r"/\#?%:":
        with pytest.raises(wandb.UsageError):
            wandb.Settings(project=character)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["-m", "optimizer.lr=0.1,0.01"], ["-m: ", "inv exp.queue"]),
        (["--cfg", "job"], ["--cfg: ", "python -m", "train --cfg"]),
        (["--trainer.max_epochs=3"], ["without dashes: trainer.max_epochs=3"]),
        (["seed"], ["seed: ", "KEY=VALUE"]),
        (["seed=1", "optimizer.lr=0.1,0.2"], ["a grid", "inv exp.queue -- seed=1 optimizer.lr="]),
        (["optimizer.lr=choice(0.1)"], ["a grid", "inv exp.queue"]),
        (["optimizer.lr=interval(0,1)"], ["is not a grid"]),
        (["optimizer.betas=[0.9,0.99]"], ["to add it: inv train -- '+optimizer.betas=[0.9,0.99]'"]),
        (["optimizer.bettas=[0.9,0.99]"], ["no such key", "did you mean betas?"]),
        (["optimizer.betas=[0.9,1.5]"], ["1.5 must be", "below 1"]),
        (["lr=0.1"], ["did you mean optimizer.lr?"]),
        (["data.name=7"], ["""as in 'data.name="7"'"""]),
        (["data.target.names=[1,false]"], ["""as in 'data.target.names=["1","false"]'"""]),
        (["precision=64-true"], ["bf16, fp32", "trainer.precision=64-true"]),
        (["~callbacks"], ["callbacks: is missing"]),
        (["model._target_=7"], ["model._target_: 7 is not the import path", "command line"]),
        (["serving.threads=2"], ["SERVING_THREADS", "conf/serving/default.yaml"]),
        (["cluster=slurm"], ["cluster: ", "not part of a training", "inv train -- cluster=slurm"]),
        (["serving=default"], ["serving: ", "not part of a training", "conf/serving/default.yaml"]),
        (["trainer.benchmark=true"], ["to add it: inv train -- +trainer.benchmark=true"]),
        (["+trainer.logger=true"], ["trainer.logger: no such key"]),
        (["+trainer.benchmark=1"], ["trainer.benchmark: 1 is not true or false"]),
        (["model=null"], ["must be a string or a list"]),
    ],
)
def test_refused_override_says_what_to_type(
    overrides: list[str], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as refused:
        main(["--check", *overrides])
    (line,) = str(refused.value).splitlines()
    for words in said:
        assert words in line


def test_what_a_message_says_to_type_is_accepted(config, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    assert list(config("+optimizer.betas=[0.9,0.99]").optimizer.betas) == [0.9, 0.99]
    assert config('data.name="7"').data.name == "7"
    assert list(config('data.target.names=["1","false"]').data.target.names) == ["1", "false"]
    assert config("trainer.precision=64-true").trainer.precision == "64-true"
    assert check(["optimizer.lr=0.1,0.01", "seed=1,2"], grid=True) == 4


def test_keys_of_the_trainer_are_parameters_of_lightnings() -> None:
    taken = set(inspect.signature(lightning.Trainer).parameters)
    assert {field.name for field in fields(Trainer)} - set(OWN) <= taken
    assert taken >= NOT_IN_TRAINER


LIBRARIES = {
    "torch.optim": torch.optim,
    "torch.optim.lr_scheduler": torch.optim.lr_scheduler,
    "lightning.pytorch": lightning.pytorch,
    "lightning.pytorch.callbacks": lightning.pytorch.callbacks,
}


def test_signatures_read_from_source_are_those_of_the_classes() -> None:
    classes = {
        f"{name}.{public}": getattr(module, public)
        for name, module in LIBRARIES.items()
        for public in module.__all__
    }
    for target in [target for target, made in classes.items() if inspect.isclass(made)]:
        imported = inspect.signature(get_class(target)).parameters
        parameters = {
            name: parameter.default is parameter.empty
            for name, parameter in imported.items()
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        }
        found = signature(target)
        assert found is not None, target
        assert {name: one.required for name, one in found.parameters.items()} == parameters, target


def test_names_that_a_module_makes_when_they_are_used_are_left_to_the_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lazy = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .networks import *\n"
    (tmp_path / "lazy_library").mkdir()
    (tmp_path / "lazy_library" / "__init__.py").write_text(lazy, encoding="utf-8")
    (tmp_path / "their_base.py").write_text("class Net:\n    pass\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert signature("lazy_library.Net.from_pretrained") is None
    assert signature("their_base.Net.from_pretrained") is None


def test_limits_are_those_of_the_library() -> None:
    refused = {"lr": -1e-9, "weight_decay": -1e-9, "momentum": -1e-9, "betas": (0.9, 1.0)}
    weights = [torch.nn.Parameter(torch.zeros(2, 2))]
    for optimizer in (torch.optim.AdamW, torch.optim.SGD, torch.optim.NAdam, torch.optim.RMSprop):
        for name, value in refused.items():
            if name in inspect.signature(optimizer).parameters:
                with pytest.raises(ValueError, match="Invalid"):
                    optimizer(weights, **{name: value})
    with pytest.raises(MisconfigurationException):
        EarlyStopping("val/loss", mode="least")


def test_class_of_a_project_needs_no_entry(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "their_networks.py").write_text(
        "from typing import Annotated, Literal\n"
        "from annotated_types import Interval\n"
        "from torch import nn\n"
        "Width = Annotated[int, Interval(ge=1, le=64)]\n"
        "class Base(nn.Module):\n"
        "    def __init__(self, width: Width, kind: Literal['a', 'b'] = 'a',\n"
        "                 head: nn.Module | None = None, sizes: tuple[int, ...] = ()):\n"
        "        super().__init__()\n"
        "class Net(Base):\n"
        "    pass\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    net = "their_networks.Net"
    head = {"_target_": "torch.nn.Linear", "in_features": 2, "out_features": 2}
    check_nodes({"model": {"_target_": net, "width": 64, "head": head, "sizes": [1, 2, 3]}})
    for node, said in [
        ({"width": 65}, "model.width: 65 must be at least 1 and at most 64"),
        ({"width": 1.5}, "model.width: 1.5 is not a whole number"),
        ({"widht": 1}, "model.widht: no such key; did you mean width?"),
        ({}, "model.width: is missing"),
        ({"width": 1, "kind": "c"}, 'model.kind: "c" is not one of a, b'),
        ({"width": 1, "sizes": [1, "2"]}, "model.sizes: '2' is text, not a whole number"),
        ({"width": 1, "head": {**head, "bias": 1}}, "model.head.bias: 1 is not true or false"),
        ({"_target_": f"{net}s"}, f"model._target_: {net}s: their_networks has no Nets; did you"),
        ({"_target_": "no_such.Net"}, "model._target_: no_such.Net: no module no_such"),
    ]:
        with pytest.raises(ConfigError) as refused:
            check_nodes({"model": {"_target_": net, **node}})
        assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("sklearn.linear_model.LogisticRegresion", "LogisticRegression"),  # imported and in __all__
        ("torch.optim.AdemW", "AdamW"),
        ("lightning.pytorch.callbacks.EarlyStoping", "EarlyStopping"),
        ("their_package.Nett", "Net"),  # imported alone
        ("their_package.lazy_nett", "lazy_net"),  # in __all__ alone
    ],
)
def test_a_misspelt_class_is_told_from_those_that_a_package_offers(
    target: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_package").mkdir()
    (tmp_path / "their_package/nets.py").write_text("class Net:\n    pass\n", "utf-8")
    lines = ["import json", "from .nets import Net", '__all__ = ["lazy_net"]']
    (tmp_path / "their_package/__init__.py").write_text("\n".join(lines), "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module, _, name = target.rpartition(".")
    with pytest.raises(ConfigError) as refused:
        check_nodes({"model": {"_target_": target}})
    assert str(refused.value) == (
        f"model._target_: {target}: {module} has no {name}; did you mean {meant}?"
    )


def test_schema_for_editors_is_current() -> None:
    json_schema.main(["--check"])


def faults(file: Path, content: Any, schema: dict[str, Any]) -> list[str]:
    """What an editor says of a file of conf/, by the line in it that names its schema."""
    (line,) = (line for line in file.read_text("utf-8").splitlines() if "$schema=" in line)
    path, _, name = line.partition("$schema=")[2].partition("#/definitions/")
    assert (file.parent / path).resolve() == ROOT / json_schema.FILE
    validator = jsonschema.Draft7Validator({**schema, "$ref": f"#/definitions/{name}"})
    return [error.message for error in validator.iter_errors(content)]


def test_editors_mark_each_mistake_and_nothing_right() -> None:
    schema = json.loads((ROOT / json_schema.FILE).read_text(encoding="utf-8"))
    contents = {
        path.relative_to(ROOT / CONF).as_posix(): yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in (ROOT / CONF).rglob("*.yaml")
        if "hydra" not in path.parts
    }
    for name, content in contents.items():
        assert not faults(ROOT / CONF / name, content, schema), name
    for name, changes in {
        "model/cnn.yaml": {"chanels": [1, 2]},
        "model/mlp.yaml": {"dropout": 1.0},
        "optimizer/adam.yaml": {"momentum": 0.9},
        "data/digits.yaml": {"target": {"kind": "classes", "name": "digit"}},
        "loader/memory.yaml": {"batch_size": 0},
        "scheduler/cosine.yaml": {
            "schedule": {**contents["scheduler/cosine.yaml"]["schedule"], "T": 1}
        },
        "callbacks/early_stopping.yaml": {"early_stopping": {"patience": "8"}},
        "precision/bf16.yaml": {"precision": "bf16"},
        "trainer/gpu.yaml": {"logger": False},
        "experiment/small_cnn.yaml": {"optimizer": {"lr": -1}},
        "tracking/wandb.yaml": {"mode": True},
        "serving/default.yaml": {"thread": 1},
        "config.yaml": {"seed": -1},
    }.items():
        assert faults(ROOT / CONF / name, {**contents[name], **changes}, schema), name


def offered(schema: dict[str, Any], name: str, content: Any, *path: str | int) -> set[str]:
    """The keys that an editor completes at a path of a file with this content."""

    def applied(node: dict[str, Any], value: Any) -> Iterator[dict[str, Any]]:
        yield node
        definition = node.get("$ref", "").partition("#/definitions/")[2]
        parts = [schema["definitions"][definition]] if definition else []
        parts += [*node.get("allOf", ()), *node.get("anyOf", ())]
        if "if" in node and jsonschema.Draft7Validator({**schema, **node["if"]}).is_valid(value):
            parts.append(node["then"])
        for part in parts:
            yield from applied(part, value)

    nodes = [schema["definitions"][name]]
    for key in path:
        found = [part for node in nodes for part in applied(node, content)]
        inside = [
            part.get("properties", {}).get(key, part.get("additionalProperties")) for part in found
        ]
        items = [part.get("items") for part in found]
        nodes = [node for node in (items if key == 0 else inside) if isinstance(node, dict)]
        content = content[key]
    found = [part for node in nodes for part in applied(node, content)]
    return {key for part in found for key in part.get("properties", ())}


@pytest.mark.parametrize(
    ("content", "path", "keys"),
    [
        ({"inputs": {"a": {}}}, ("inputs", "a"), "kind rows columns channels max_value length"),
        ({"inputs": {"a": {"kind": "text"}}}, ("inputs", "a"), "kind length"),
        (
            {"inputs": {"a": {"kind": "features", "columns": [{"name": "b"}]}}},
            ("inputs", "a", "columns", 0),
            "name unit range choices",
        ),
        ({"target": {}}, ("target",), "kind names name unit"),
        ({"target": {"kind": "value"}}, ("target",), "kind name unit"),
    ],
)
def test_editors_complete_the_keys_of_inputs_and_target(
    content: dict[str, Any], path: tuple[str | int, ...], keys: str
) -> None:
    schema = json.loads((ROOT / json_schema.FILE).read_text(encoding="utf-8"))
    assert offered(schema, "data", content, *path) == set(keys.split())
    jsonschema.Draft7Validator({**schema, "$ref": "#/definitions/data"}).validate(content)


def test_params_imports_what_it_needs(config) -> None:
    program = """
import sys
from workflow.pipeline.params import check
assert "hydra" not in sys.modules, "in an experiment, nothing is composed"
check(["+trainer.benchmark=true"])
sys.exit(str([n for n in ("torch", "lightning", "wandb", "griffe") if n in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.stderr.strip() == "[]"


def test_seed_0_is_recorded(workspace: Path, config) -> None:
    assert provenance.collect(plain(config("seed=0")), {})["seed"] == 0


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
    written += ["METRICS", "PREDICTIONS", "SECTIONS", "PICTURES"]
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


def test_a_secret_in_the_config_is_refused_and_not_repeated(config) -> None:
    aws_id = "AKIA" + "IOSFODNN7EXAMPLE"
    for key, override in (
        ("tracking.project", f"tracking.project={aws_id}"),
        ("tracking.tags", f"tracking.tags=[a,{aws_id}]"),
        ("loader.batch_size", f"loader.batch_size={aws_id}"),
    ):
        with pytest.raises(ConfigError, match=rf"^{key}: is a secret \(AWS Access K") as caught:
            config(override)
        assert aws_id not in str(caught.value)


def test_a_value_of_the_environment_is_refused_in_the_config(
    config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPANY_TOKEN", "only-the-company-knows")
    with pytest.raises(ConfigError, match=r"^tracking\.entity: is a secret \(value of COMPANY_TO"):
        config("tracking.entity=${oc.env:COMPANY_TOKEN}")


def test_fused_optimizer_cannot_clip_gradients_in_bf16(config) -> None:
    clip = ["precision=bf16", "trainer.gradient_clip_val=1.0"]
    with pytest.raises(ConfigError, match=r"optimizer\.fused: must be false"):
        config(*clip)
    config(*clip, "optimizer.fused=false")
    config("trainer.gradient_clip_val=1.0")
