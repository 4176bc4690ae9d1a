"""What a training begins with: each case of the table in docs/training.md, and what is refused."""

import re
from collections.abc import Callable
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from running import train
from workflow import checkpoint_file
from workflow.config.schema import plain
from workflow.config.values import ConfigError
from workflow.paths import PREPARED_DATA, ROOT
from workflow.training.checkpoints import Content
from workflow.training.start import load

Weights = dict[str, torch.Tensor]
START = {
    "`train.resume=latest`": "train.resume=latest",
    "`train.resume=never`": "train.resume=never",
    "`train.resume=RUN`": "train.resume=past/model.ckpt",
    "`train.init_from=RUN`": "train.init_from=past/model.ckpt",
}


def table() -> dict[tuple[str, str], str]:
    """The table of docs/training.md: the cell of each row's and column's name."""
    text = (
        (ROOT / "docs/training.md")
        .read_text(encoding="utf-8")
        .partition("<!-- start: begin -->\n")[2]
    )
    lines = text.partition("<!-- start: end -->")[0].splitlines()
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {(row[0], name): row[n] for row in rows for n, name in enumerate(head[1:], start=1)}


class InterruptOnce(L.Callback):
    """Ends a training in its third epoch, once."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 2 and not Path("interrupted").exists():
            Path("interrupted").touch()
            raise RuntimeError("interrupted")


def checkpoint(run_dir: Path) -> dict:
    return torch.load(run_dir / "model.ckpt", weights_only=True)


def same(first: Path, second: Path) -> bool:
    ours, theirs = checkpoint(first)["state_dict"], checkpoint(second)["state_dict"]
    return all(torch.equal(ours[name], theirs[name]) for name in ours | theirs)


def history(run_dir: Path) -> str:
    return (run_dir / "history.csv").read_text(encoding="utf-8")


@pytest.fixture
def past(workspace: Path, config: Callable[..., DictConfig]) -> Path:
    """The folder of a training that ended after its first epoch."""
    train(config("trainer.max_epochs=1"), workspace / "past")
    return workspace / "past"


@pytest.mark.slow
def test_the_table_says_what_happens(
    past: Path, config: Callable[..., DictConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    long = ["trainer.max_epochs=4", f"+callbacks.interrupt._target_={__name__}.InterruptOnce"]
    interrupted = Path("interrupted")
    interrupted.touch()
    anew, tuned = past.with_name("anew"), past.with_name("tuned")
    train(config(*long), anew)
    train(config(*long, START["`train.init_from=RUN`"]), tuned)
    assert not same(anew, tuned)

    happened = {}
    for number, (unfinished, start) in enumerate(said := table()):
        run_dir = past.with_name(f"run-{number}")
        if unfinished != "none":
            other = ["trainer.gradient_clip_val=0.5"] if unfinished == "of other inputs" else []
            interrupted.unlink()
            with pytest.raises(RuntimeError, match="interrupted"):
                train(config(*long, *other, START[start]), run_dir)
        capsys.readouterr()
        train(config(*long, START[start]), run_dir)
        (first, *_) = re.findall(r"^epoch (\d)/4", capsys.readouterr().out, re.MULTILINE)
        outcome = {"1": "starts from scratch", "2": "resumes from RUN", "3": "resumes it"}[first]
        assert same(run_dir, tuned if "init_from" in start else anew)
        if first == "1" and same(run_dir, tuned):
            outcome = "starts from RUN's weights"
        happened[unfinished, start] = outcome
        assert not (run_dir / "unfinished").exists()
    assert happened == said
    assert len(said) == 3 * len(START)


def test_resumed_run_equals_one_in_one_go(
    workspace: Path, config: Callable[..., DictConfig], capsys
) -> None:
    # Epochs come after the best one, which is the one that is kept.
    unsteady = ["optimizer.lr=0.08", "callbacks.early_stopping.patience=1"]
    patient = [unsteady[0], "callbacks.early_stopping.patience=9", "trainer.max_epochs=9"]
    train(config(*unsteady, "trainer.max_epochs=9"), workspace / "past")
    epochs = len(history(workspace / "past").splitlines()) - 1
    assert checkpoint(workspace / "past")["epoch"] + 1 < epochs < 9
    train(config(*patient, "train.resume=past/model.ckpt"), workspace / "run")
    train(config(*patient), workspace / "whole")
    assert same(workspace / "run", workspace / "whole")
    assert history(workspace / "run") == history(workspace / "whole")
    assert len(history(workspace / "run").splitlines()) == 1 + 9
    # The best epoch may be that of the past run: it is kept with this run's config.
    saved = checkpoint(workspace / "run")
    assert saved["hyper_parameters"]["config"]["trainer"]["max_epochs"] == 9


def test_fine_tuning_takes_the_weights_and_nothing_else(
    past: Path, config: Callable[..., DictConfig]
) -> None:
    images = np.load(PREPARED_DATA / "train_images.npy")
    np.save(PREPARED_DATA / "train_images.npy", images // 2)
    run_dir = past.with_name("run")
    still = ["trainer.max_epochs=1", "optimizer=sgd", "optimizer.lr=1e-12", "seed=5"]
    train(config(*still, "train.init_from=past/model.ckpt"), run_dir)
    before, after = checkpoint(past)["state_dict"], checkpoint(run_dir)["state_dict"]
    for name in before:
        if name.startswith("network."):
            assert torch.allclose(before[name], after[name], atol=1e-6), name
    mean = after["preprocess.kinds.0.standardize.mean"]
    assert mean == pytest.approx((images // 2).mean(), rel=1e-4)
    assert checkpoint(run_dir)["epoch"] == 0


@pytest.mark.slow
def test_what_it_began_with_is_recorded_in_a_run_of_its_own(
    workspace: Path, config: Callable[..., DictConfig]
) -> None:
    tracked = "tracking.mode=offline"
    train(config(tracked, "trainer.max_epochs=1"), workspace / "past")
    first = checkpoint(workspace / "past")["provenance"]["run"]["id"]
    (folder,) = (workspace / "wandb").glob(f"offline-run-*-{first}")
    for start, key in [
        (f"train.resume={first}", "resumed_from"),
        (f"train.init_from={folder.as_posix()}", "initialized_from"),
        ("train.init_from=past/model.ckpt", "initialized_from"),
    ]:
        train(config(tracked, start), workspace / "run")
        provenance = checkpoint(workspace / "run")["provenance"]
        assert provenance["run"]["id"] != first
        assert provenance[key]["run"] == first
        assert re.fullmatch(r"[0-9a-f]{64}", provenance[key]["checkpoint"])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["train.resume=nothing"], "train.resume: no run 'nothing'"),
        (["train.init_from=lost.ckpt"], "train.init_from: lost.ckpt: there is no such file"),
        (["train.resume=README.ckpt"], "it is not a checkpoint that can be read"),
        (["train.resume=weights.ckpt"], "it is not a checkpoint of this project's training"),
        (
            ["train.init_from=forest.ckpt"],
            "init_from: forest.ckpt: it is a checkpoint of scikit-learn, this project needs one of",
        ),
        (["train.resume=past/model.ckpt", "trainer.max_epochs=1"], "is at epoch 1"),
        (["train.resume=past/model.ckpt", "model=mlp"], "has model._target_="),
        (["train.resume=past/model.ckpt", "optimizer.lr=0.5"], "has optimizer.lr=0.003, this"),
        (["train.resume=past/model.ckpt", "seed=3"], "has seed=0, this config has 3"),
        (
            ["train.init_from=past/model.ckpt", "model.channels=[4,8]"],
            r"as layers.0.weight, this model of shape \(4, 1, 3, 3\)",
        ),
        (["train.init_from=past/model.ckpt", "model=mlp"], "as layers.0.weight, this"),
    ],
)
def test_what_cannot_be_started_from_is_one_line(
    overrides: list[str], said: str, past: Path, config: Callable[..., DictConfig]
) -> None:
    past.with_name("README.ckpt").write_text("no checkpoint")
    torch.save({"weight": torch.ones(2)}, past.with_name("weights.ckpt"))
    of_forest = {"config.json": b'{"framework": "scikit-learn"}', "provenance.json": b"{}"}
    checkpoint_file.write(past.with_name("forest.ckpt"), of_forest)
    interrupt = f"+callbacks.interrupt._target_={__name__}.InterruptOnce"
    with pytest.raises(RuntimeError, match="interrupted"):
        train(config("trainer.max_epochs=3", interrupt), past.with_name("run"))
    before = {path: path.read_bytes() for path in past.with_name("run").rglob("*.*")}
    with pytest.raises(ConfigError, match=said) as refused:
        train(config(*overrides), past.with_name("run"))
    assert "\n" not in str(refused.value)
    # What was unfinished is still there to resume.
    assert before == {path: path.read_bytes() for path in past.with_name("run").rglob("*.*")}


@pytest.mark.parametrize("key", ["train.resume", "train.init_from"])
def test_another_framework_does_not_start_from_a_checkpoint_of_pytorch(
    key: str, past: Path, config: Callable[..., DictConfig]
) -> None:
    settings = plain(config(f"{key}=past/model.ckpt")) | {"framework": "keras"}

    def read(path: Path) -> Content:
        raise AssertionError("it is read")

    message = f"^{key}: .*: it is a checkpoint of pytorch, this project needs one of keras$"
    with pytest.raises(ConfigError, match=message):
        load(settings, read, same=(), epochs="trainer.epochs", shapes=dict)


def test_a_run_of_other_data_is_not_resumed(past: Path, config: Callable[..., DictConfig]) -> None:
    lock = "stages: {prepare: {outs: [{path: data/prepared, md5: HASH}]} }"
    Path("dvc.lock").write_text(lock.replace("HASH", "1f00"))
    train(config("trainer.max_epochs=1"), past)
    Path("dvc.lock").write_text(lock.replace("HASH", "2f00"))
    with pytest.raises(ConfigError, match="trained on other data, data/prepared 1f00"):
        train(config("train.resume=past/model.ckpt"), past.with_name("run"))
    train(config("train.init_from=past/model.ckpt"), past.with_name("run"))
    assert checkpoint(past.with_name("run"))["provenance"]["data"] == {"data/prepared": "2f00"}


def test_a_run_has_one_beginning(config: Callable[..., DictConfig]) -> None:
    with pytest.raises(ConfigError, match="leave one out"):
        config("train.resume=main", "train.init_from=main")
