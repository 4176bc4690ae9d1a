"""What a step of a training costs, and what it waits for; the same numbers from each loader."""

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from my_ml_project.data import ArrayDataModule, ArrayDataset, BatchSampler
from my_ml_project.preprocess import Preprocess
from running import train
from test_train import same, weights
from torch.overrides import TorchFunctionMode
from workflow.config.values import ConfigError
from workflow.paths import PREPARED_DATA, ROOT

# What brings numbers from a GPU to this process, or to a GPU from a list: either waits for it.
WAITING = {
    *("item", "tolist", "numpy", "cpu", "nonzero", "tensor", "as_tensor"),
    *("__bool__", "__float__", "__int__", "__index__", "__contains__"),
}
PENDING = "workflow/lightning/pending.py"  # reads what was computed a while before
# Numbers of steps, which are on the CPU: MovingAverage's, and that of an optimizer not fused.
COUNTERS = {"torch/optim/swa_utils.py", "torch/optim/optimizer.py"}


def test_each_loader_gives_the_same_numbers(workspace: Path, config) -> None:
    for loader in ("memory", "workers", "device"):
        train(config(f"loader={loader}"), workspace / loader)
    for loader in ("workers", "device"):
        assert same(weights(workspace / "memory"), weights(workspace / loader))
        for file in ("metrics.json", "history.csv"):
            ours = (workspace / loader / file).read_bytes()
            assert ours == (workspace / "memory" / file).read_bytes()


def test_batches_are_gathered_on_the_device_that_the_arrays_are_on(workspace: Path, config) -> None:
    # "meta" has shapes and no numbers; an operation on it and the CPU together is an error.
    data = ArrayDataset(PREPARED_DATA, "train", config().data.inputs, "meta")
    first, *_, last = BatchSampler(len(data), 8, seed=0, device="meta")
    for indices, size in ((first, 8), (last, len(data) % 8)):
        inputs, target = data[indices]
        assert inputs["images"].shape == (size, 8, 8)
        assert {inputs["images"].device.type, target.device.type} == {"meta"}


@pytest.mark.parametrize(("devices", "index"), [(1, 0), ([2, 5], 2), ("auto", 0)])
def test_data_that_does_not_fit_on_the_gpu_is_one_line(
    workspace: Path, config, monkeypatch: pytest.MonkeyPatch, devices: Any, index: int
) -> None:
    free = {index: 2**30}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[device], 80 * 2**30))
    module = ArrayDataModule(
        PREPARED_DATA, config().data.inputs, 8, workers=0, shuffle=True, on_device=True, seed=0
    )
    limits = {"limit_train_batches": None, "limit_val_batches": None}
    trainer = {"accelerator": "gpu", "devices": devices, **limits}
    module.require_batches(trainer)
    free[index] = 1000
    with pytest.raises(ConfigError) as refused:
        module.require_batches(trainer)
    assert str(refused.value) == (
        "loader.on_device: the data takes 0.0 GiB, and the device has 0.0 GiB free; "
        "or: loader=memory"
    )


class Waits(TorchFunctionMode):
    """Notes where this process needs a number from a tensor, or makes a tensor of numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        indexed = func is torch.Tensor.__getitem__ and _has_list(args[1])
        if getattr(func, "__name__", "") in WAITING or indexed:
            frames = [frame.filename for frame in traceback.extract_stack()[:-1]]
            file = next(name for name in reversed(frames) if "torch/_tensor" not in name)
            self.places.add(_relative(file))
        return func(*args, **(kwargs or {}))


def _has_list(index: Any) -> bool:
    return any(isinstance(part, list) for part in (index if isinstance(index, tuple) else (index,)))


def _relative(file: str) -> str:
    return Path(file).as_posix().removeprefix(f"{ROOT.as_posix()}/").split("site-packages/")[-1]


class Watch(L.Callback):
    """Watches an epoch's steps but its first and last: with what comes between them."""

    waits: Waits

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.current_epoch == 0 and args[-1] == 1:
            Watch.waits = Waits()
            self.waits.__enter__()
        elif trainer.current_epoch == 0 and args[-1] == trainer.num_training_batches - 1:
            self.waits.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], {PENDING}),
        (
            [
                *(
                    "callbacks=[default,ema]",
                    "trainer.gradient_clip_val=1",
                    "optimizer.fused=false",
                ),
                *("scheduler=one_cycle", "precision=bf16", "loader=device"),
            ],
            {PENDING, *COUNTERS},
        ),
        (["trainer.accumulate_grad_batches=2", "optimizer=sgd", "loader=device"], {PENDING}),
    ],
)
def test_no_step_waits_for_the_gpu(
    workspace: Path, config, overrides: list[str], expected: set[str]
) -> None:
    watch = f"+callbacks.watch._target_={__name__}.Watch"
    steps = ["loader.batch_size=4", "trainer.log_every_n_steps=3", "trainer.max_epochs=1"]
    train(config(*steps, *overrides, watch), workspace / "run")
    assert Watch.waits.places == expected


def test_preprocessing_a_table_does_not_wait_either() -> None:
    columns = [{"name": "age"}, {"name": "colour", "choices": ["a", "b"]}, {"name": "weight"}]
    preprocess = Preprocess({"table": {"kind": "features", "columns": columns}})
    table = torch.tensor([[1.0, 0, 10], [3, 1, 30]])
    preprocess.fit({"table": table})
    with Waits() as waits:
        encoded = preprocess({"table": table})["table"]
    assert waits.places == set()
    assert encoded.tolist() == [[-1, -1, 1, 0], [1, 1, 0, 1]]


class CountCalls(L.Callback):
    """Counts the functions of Python that a step calls."""

    counts: list[int]

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if args[-1] == 1:
            CountCalls.counts = []
        if args[-1] >= 1:
            CountCalls.counts.append(0)
            sys.setprofile(self._count)
        if args[-1] == trainer.num_training_batches - 1:
            sys.setprofile(None)

    def _count(self, frame: FrameType, event: str, argument: Any) -> None:
        CountCalls.counts[-1] += event == "call"


def test_lightning_takes_few_calls_in_each_step(
    workspace: Path, config: Callable[..., Any]
) -> None:
    count = f"+callbacks.count._target_={__name__}.CountCalls"
    model = ["model=mlp", "model.hidden=[8]", "trainer.log_every_n_steps=50"]
    train(config(*model, count, "trainer.max_epochs=1"), workspace / "run")
    # 957 with Lightning 2.6.6; with its own profiler, and every hook of every callback, 1900.
    assert np.median(CountCalls.counts[:-1]) < 1000
