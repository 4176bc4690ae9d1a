"""What conf/trainer/ and conf/callbacks/ change in a training: compiled, accumulated, averaged."""

import json
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from my_ml_project.export import export
from running import train
from test_train import history, load, same, weights
from torch.nn import functional
from workflow.config.values import ConfigError
from workflow.onnx_file import predict
from workflow.paths import PREPARED_DATA

SGD = ["optimizer=sgd", "optimizer.momentum=0", "optimizer.weight_decay=0", "model.dropout=0"]
TINY = ["model=mlp", "model.hidden=[8]"]
AVERAGED = ["callbacks=[default,ema]", "callbacks.ema.decay=0.8"]
INTERRUPT = "+callbacks.interrupt._target_=test_start.InterruptOnce"


def largest_difference(first: Path, second: Path) -> float:
    ours, theirs = weights(first), weights(second)
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


@pytest.mark.slow
def test_a_compiled_run_repeats_resumes_and_is_the_same_checkpoint(workspace: Path, config) -> None:
    # The last batch of an epoch is of another size: both are compiled.
    graphs = "trainer.compile=reduce-overhead"  # which are a GPU's: on a CPU, as true
    compiled = [*TINY, "loader.batch_size=40", graphs, "trainer.max_epochs=4"]
    train(config(*compiled), workspace / "whole")
    with pytest.raises(RuntimeError, match="interrupted"):
        train(config(*compiled, INTERRUPT), workspace / "killed")
    train(config(*compiled, INTERRUPT), workspace / "killed")
    assert same(weights(workspace / "whole"), weights(workspace / "killed"))

    for number, first in enumerate(["true", "false"]):
        other = {"true": "false", "false": "true"}[first]
        options = [*TINY, "model.dropout=0", "loader.batch_size=40"]
        past, run, whole = (workspace / f"{name}-{number}" for name in ("past", "run", "all"))
        train(config(*options, f"trainer.compile={first}", "trainer.max_epochs=1"), past)
        resume = f"train.resume={past.name}/model.ckpt"
        train(config(*options, f"trainer.compile={other}", resume), run)
        train(config(*options, f"trainer.compile={other}"), whole)
        assert largest_difference(run, whole) < 1e-4

    compiled_once, model = workspace / "past-0", workspace / "model.onnx"
    export(compiled_once / "model.ckpt", model, PREPARED_DATA, samples=0)
    assert validation_loss(model) == pytest.approx(metrics(compiled_once), rel=1e-4)


def metrics(run: Path) -> float:
    return json.loads((run / "metrics.json").read_text(encoding="utf-8"))["val/loss"]


def validation_loss(model: Path) -> float:
    """What an exported model's loss on the validation split is."""
    images = np.load(PREPARED_DATA / "validation_images.npy")
    target = torch.from_numpy(np.load(PREPARED_DATA / "validation_target.npy"))
    probabilities = torch.from_numpy(predict(model, {"images": images}))
    return float(functional.nll_loss(probabilities.log(), target))


def test_without_a_compiler_one_line_says_so_before_the_run(
    workspace: Path, config, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "bin").mkdir()
    monkeypatch.setenv("PATH", str(workspace / "bin"))
    monkeypatch.delenv("CXX", raising=False)
    line = r"^trainer\.compile: needs a C\+\+ compiler \(.+\), which was not found here; or: "
    with pytest.raises(ConfigError, match=line):
        train(config("trainer.compile=true", "tracking.mode=offline"), workspace / "run")
    assert not list(workspace.glob("wandb/*run-*"))
    assert not (workspace / "run").exists()


def test_accumulated_batches_make_the_step_of_the_whole_batch(workspace: Path, config) -> None:
    train(config(*SGD, "loader.batch_size=30"), workspace / "whole")
    halves = ["loader.batch_size=15", "trainer.accumulate_grad_batches=2"]
    train(config(*SGD, *halves), workspace / "halves")
    assert load(workspace / "halves")["global_step"] == 4
    assert largest_difference(workspace / "whole", workspace / "halves") < 1e-6
    train(config(*SGD, "loader.batch_size=15"), workspace / "small")
    assert largest_difference(workspace / "whole", workspace / "small") > 1e-4


def test_clipping_bounds_the_norm_of_the_gradients(workspace: Path, config) -> None:
    one_step = [*SGD, "loader.batch_size=60", "trainer.max_epochs=1"]

    def moved(run: str) -> float:
        before, after = weights(workspace / "still"), weights(workspace / run)
        return float(sum((after[name] - before[name]).square().sum() for name in before)) ** 0.5

    train(config(*one_step, "optimizer.lr=0"), workspace / "still")
    train(config(*one_step, "optimizer.lr=0.5"), workspace / "free")
    assert moved("free") / 0.5 > 0.1
    clip = "trainer.gradient_clip_val=0.1"
    train(config(*one_step, "optimizer.lr=0.5", clip), workspace / "clipped")
    assert moved("clipped") / 0.5 == pytest.approx(0.1, rel=1e-3)


class NoteWeights(L.Callback):
    """Notes the weights after each step."""

    steps: list[dict[str, torch.Tensor]]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        NoteWeights.steps = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object
    ) -> None:
        state = pl_module.state_dict()
        self.steps.append({name: value.clone() for name, value in state.items()})


def test_the_average_of_the_weights_is_validated_kept_and_exported(workspace: Path, config) -> None:
    note = f"+callbacks.note._target_={__name__}.NoteWeights"
    train(config(*AVERAGED, note, "trainer.max_epochs=1"), workspace / "run")
    average, *others = NoteWeights.steps
    for weight in others:
        average = {name: 0.8 * average[name] + 0.2 * weight[name] for name in average}
    saved = weights(workspace / "run")
    assert all(torch.allclose(saved[name], average[name], atol=1e-6) for name in average)
    assert not torch.allclose(
        saved["network.layers.0.weight"], weight["network.layers.0.weight"], atol=1e-4
    )
    model = workspace / "model.onnx"
    export(workspace / "run" / "model.ckpt", model, PREPARED_DATA, samples=0)
    assert validation_loss(model) == pytest.approx(metrics(workspace / "run"), rel=1e-4)


def test_the_best_epoch_of_an_averaged_run_survives_a_kill_bit_for_bit(
    workspace: Path, config
) -> None:
    by_accuracy = ["metric.name=accuracy", "metric.mode=max", "optimizer.lr=0.01"]
    options = [*AVERAGED, *by_accuracy, "trainer.max_epochs=8"]
    train(config(*options), workspace / "whole")
    with pytest.raises(RuntimeError, match="interrupted"):
        train(config(*options, INTERRUPT), workspace / "killed")
    train(config(*options, INTERRUPT), workspace / "killed")
    whole, killed = load(workspace / "whole"), load(workspace / "killed")
    assert whole["epoch"] + 1 < 8  # the best one is not the last
    for name in ("state_dict", "current_model_state", "averaging_state"):
        assert same(whole[name], killed[name]), name
    assert history(workspace / "whole") == history(workspace / "killed")
    assert metrics(workspace / "whole") == metrics(workspace / "killed")
    best = history(workspace / "whole")[whole["epoch"]]
    assert metrics(workspace / "whole") == pytest.approx(float(best["val/loss"]), abs=1e-6)
