"""A training that is killed within an epoch: it goes on with the very next batch."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from running import train
from workflow.errors import CommandError
from workflow.paths import CONF, PREPARED_DATA, ROOT
from workflow.prepared import read_arrays, write

SHARD_MB = 8 * 64 / 2**20  # 8 images
ALWAYS = ["train.checkpoint_minutes=0", "model.dropout=0.5", "trainer.max_epochs=3"]
LOADERS = {
    "memory": ["loader=memory"],
    "stream": ["loader=stream", f"loader.shard_mb={SHARD_MB}", "loader.window=3"],
}
LOADERS["workers"] = [*LOADERS["stream"], "loader.workers=2"]


@pytest.fixture
def sharded(workspace: Path) -> Path:
    """The prepared data of the workspace in shards; `loader=memory` reads them, too."""
    splits = {
        split: read_arrays(PREPARED_DATA, split, ["images"])
        for split in ("train", "validation", "test")
    }
    images = np.concatenate([inputs["images"] for inputs, _ in splits.values()])
    target = np.concatenate([target for _, target in splits.values()])
    starts = np.cumsum([0, *(len(target) for _, target in splits.values())])
    parts = {
        split: np.arange(begin, end)
        for split, begin, end in zip(splits, starts[:-1], starts[1:], strict=True)
    }
    write(PREPARED_DATA, [{"images": images}], target, parts, SHARD_MB)
    return workspace


class Batches(L.Callback):
    """Notes the batches of a training, and ends it after one of them."""

    seen: list[tuple[int, bytes]] = []  # noqa: RUF012
    last: int | None = None

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, *args: Any) -> None:
        (inputs, _), _ = args
        self.seen.append((trainer.global_step, inputs["images"].numpy().tobytes()))
        if len(self.seen) == self.last:
            raise RuntimeError("killed")


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list]:
    """Trains, until a batch where one is named; returns the batches."""

    def run(config: Any, folder: Path, last: int | None = None) -> list:
        monkeypatch.setattr(Batches, "seen", [])
        monkeypatch.setattr(Batches, "last", last)
        if last:
            with pytest.raises(RuntimeError, match="killed"):
                train(config, folder)
        else:
            train(config, folder)
        return Batches.seen

    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "model.ckpt", weights_only=True)["state_dict"]


def assert_same(first: Path, second: Path) -> None:
    mine, others = weights(first), weights(second)
    assert all(torch.equal(mine[name], others[name]) for name in others)
    for file in ("metrics.json", "history.csv"):
        assert (first / file).read_bytes() == (second / file).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("loader", LOADERS)
def test_the_very_next_batch_is_trained_and_the_end_is_the_same(
    sharded: Path, config, noted: Callable[..., list], loader: str
) -> None:
    note = f"+callbacks.note._target_={__name__}.Batches"
    settings = config(*ALWAYS, *LOADERS[loader], note)
    whole = noted(settings, sharded / "whole")
    assert len(whole) == 3 * 8
    first = noted(settings, sharded / "run", last=13)
    second = noted(settings, sharded / "run", last=3)
    third = noted(settings, sharded / "run")
    # The batch in which it was killed has no checkpoint: its callback ran before.
    assert first[:12] + second[:2] + third == whole
    assert_same(sharded / "run", sharded / "whole")


@pytest.mark.slow
def test_accumulated_gradients_and_a_moving_average_are_complete(
    sharded: Path, config, noted: Callable[..., list]
) -> None:
    note = f"+callbacks.note._target_={__name__}.Batches"
    options = [*ALWAYS, *LOADERS["stream"], note, "callbacks=[default,ema]"]
    settings = config(*options, "trainer.accumulate_grad_batches=2", "trainer.max_epochs=2")
    whole = noted(settings, sharded / "whole")
    first = noted(settings, sharded / "run", last=12)
    assert first[:10] + noted(settings, sharded / "run") == whole
    assert_same(sharded / "run", sharded / "whole")


@pytest.mark.slow
def test_a_killed_process_resumes_within_the_epoch(
    sharded: Path, small: list[str], config, python: Callable[..., Any], capsys
) -> None:
    options = [*ALWAYS, *LOADERS["stream"], "loader.batch_size=1", "tracking.mode=offline"]
    run_dir = sharded / "run"
    arguments = ["-m", "my_ml_project.train", f"hydra.run.dir={run_dir}"]

    def batches() -> int:
        """How many of the epoch's 60 the checkpoint has."""
        checkpoint = torch.load(run_dir / "unfinished" / "last.ckpt", weights_only=True)
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        return progress["current"]["ready"]

    with python(*arguments, *small, *options) as process:
        while not (run_dir / "history.csv").exists() or not 0 < batches() < 30:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert 0 < batches() < 60
    train(config(*options), run_dir)
    assert "resuming the interrupted run" in capsys.readouterr().out
    train(config(*options), sharded / "whole")
    assert_same(run_dir, sharded / "whole")


@pytest.mark.slow
def test_two_processes_resume_within_the_epoch(
    sharded: Path, small: list[str], python: Callable[..., Any]
) -> None:
    """59 samples for two: as many batches, each sample once; interrupted, and as in one go."""
    inputs, target = read_arrays(PREPARED_DATA, "train", ["images"])
    parts = dict.fromkeys(("train", "validation", "test"), np.arange(59))
    write(PREPARED_DATA, [inputs], target, parts, SHARD_MB)
    two = ["trainer.devices=2", "trainer.strategy=ddp", "loader.batch_size=3"]
    options = [*small, *ALWAYS, *LOADERS["stream"], *two]
    module = f"{Path(__file__).stem}.Batches"
    note = [f"+callbacks.note._target_={module}", "trainer.max_epochs=2"]
    conf = f"--config-path={ROOT / CONF}"  # start.py is not in the project

    def run(folder: str, last: int | None = None) -> list[list[str]]:
        code = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r});"
            "import test_within_epoch as t, atexit, json, os, hashlib;"
            f"t.Batches.last = {last};"
            "rank = os.environ.get('LOCAL_RANK', '0');"
            "save = lambda: open(f'seen-{rank}.json', 'w').write(json.dumps("
            "[hashlib.sha256(b).hexdigest() for _, b in t.Batches.seen]));"
            "atexit.register(save);"
            "from my_ml_project.train import main; main()"
        )
        (sharded / "start.py").write_text(code, encoding="utf-8")
        with python("start.py", conf, f"hydra.run.dir={folder}", *options, *note) as process:
            process.wait(timeout=120)
        seen = [json.loads((sharded / f"seen-{rank}.json").read_text()) for rank in (0, 1)]
        return seen

    whole = run("whole")
    assert len(whole[0]) == len(whole[1]) == 20
    first, second = run("run", last=14), run("run")
    for rank in (0, 1):
        assert first[rank][:13] + second[rank] == whole[rank]
    assert_same(sharded / "run", sharded / "whole")


@pytest.mark.slow
def test_a_damaged_shard_ends_a_training_with_its_name_and_loses_nothing(
    sharded: Path, config, noted: Callable[..., list]
) -> None:
    path = sharded / PREPARED_DATA / "train_images-00004.npy"
    content = path.read_bytes()
    for workers in (0, 2):
        settings = config(*ALWAYS, *LOADERS["stream"], f"loader.workers={workers}")
        path.write_bytes(content[:-1] + b"\xff")
        with pytest.raises(CommandError, match=r"^data/prepared/train_images-00004.npy: is damag"):
            train(settings, sharded / f"run-{workers}")
        path.write_bytes(content[:-1])
        with pytest.raises(CommandError, match=r"train_images-00004.npy: has \d+ bytes, not \d+"):
            train(settings, sharded / f"run-{workers}")
        path.write_bytes(content)
        train(settings, sharded / f"run-{workers}")
    assert_same(sharded / "run-0", sharded / "run-2")
