"""Training samples per second of a generated project, beside a bare loop, in one process.

Run in the environment of a generated project: python throughput.py PROJECT. Prints JSON.
Each way trains the same network on the same data with the same optimizer; the first epoch of
each is left out, and the ways take turns; the fastest epoch is the one least disturbed.
"""

import contextlib
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from synthetic import (
    BATCH,
    CLASSES,
    EPOCHS,
    HIDDEN,
    OVERRIDES,
    SAMPLES,
    SIZE,
    THREADS,
    TURNS,
    synthetic_project,
)

os.environ["OMP_NUM_THREADS"] = str(THREADS)

import lightning as L
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset


class Clock(L.Callback):
    """Times the training part of each epoch, without its validation."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.start: float | None = None

    def on_train_epoch_start(self, *_: object) -> None:
        self.start = time.perf_counter()

    def on_validation_start(self, *_: object) -> None:
        self.stop()

    def on_train_epoch_end(self, *_: object) -> None:
        self.stop()  # no validation in this way

    def stop(self) -> None:
        if self.start is not None:
            self.seconds.append(time.perf_counter() - self.start)
            self.start = None


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(SIZE * SIZE, HIDDEN[0]),
        torch.nn.ReLU(),
        torch.nn.Linear(*HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Linear(HIDDEN[1], CLASSES),
    )


def bare_loop(images: torch.Tensor, labels: torch.Tensor) -> list[float]:
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)  # Lightning's, which costs a step
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    seconds = []
    for _ in range(EPOCHS + 1):
        start = time.perf_counter()
        for indices in torch.randperm(SAMPLES).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[indices]), labels[indices]).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - start)
    return seconds


class Plain(L.LightningModule):
    """What a newcomer writes: a loss and an accuracy logged in every step."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()
        from torchmetrics.classification import MulticlassAccuracy

        self.accuracy = MulticlassAccuracy(CLASSES)

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        images, labels = batch
        logits = self.network(images)
        loss = functional.cross_entropy(logits, labels)
        self.accuracy(logits, labels)
        self.log("loss", loss)
        self.log("accuracy", self.accuracy, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class Quiet(Plain):
    """The same without any measure in a step."""

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        images, labels = batch
        return functional.cross_entropy(self.network(images), labels)


def pair(batch: tuple[dict[str, torch.Tensor], torch.Tensor]) -> list[torch.Tensor]:
    """The one input of a project's batch and its target."""
    return [batch[0]["images"], batch[1]]


def lightning(model: L.LightningModule, loader: DataLoader, bar: bool) -> list[float]:
    clock = Clock()
    with contextlib.redirect_stdout(sys.stderr):
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=EPOCHS + 1,
            callbacks=[clock],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=bar,
            enable_model_summary=False,
        )
        trainer.fit(model, loader)
    return clock.seconds


def project(package: str, overrides: list[str], callback: L.Callback) -> None:
    """The generated project's own `train`, tracked, checkpointed and validated."""
    compose = importlib.import_module("workflow.config.compose")
    schema = importlib.import_module("workflow.config.schema")
    train = importlib.import_module(f"{package}.train")
    original = L.Trainer.__init__

    def with_callback(self: L.Trainer, *args: object, **kwargs: object) -> None:
        kwargs["callbacks"] = kwargs["callbacks"] + [callback]  # type: ignore[operator]
        original(self, *args, **kwargs)

    config = schema.plain(compose.compose([*overrides, "optimizer.lr=1e-3"]))
    L.Trainer.__init__ = with_callback
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            train.train(config, Path(folder))
    finally:
        L.Trainer.__init__ = original


def timed_project(package: str) -> list[float]:
    """The seconds of each epoch of the generated project."""
    clock = Clock()
    project(package, [*OVERRIDES, f"trainer.max_epochs={EPOCHS + 1}"], clock)
    return clock.seconds


def main(folder: Path) -> None:
    torch.set_num_threads(THREADS)
    package = next(path.parent.name for path in folder.glob("*/train.py"))
    with synthetic_project(folder) as arrays:
        images, labels = map(torch.from_numpy, arrays)
        dataset = TensorDataset(images, labels)

        def loader() -> DataLoader:
            return DataLoader(dataset, BATCH, shuffle=True)

        def whole_batches() -> DataLoader:
            data = importlib.import_module(f"{package}.data")
            read = data.ArrayDataset(Path("data/prepared"), "train", [])
            read.inputs, read.target = {"images": images}, labels
            sampler = data.BatchSampler(SAMPLES, BATCH, seed=0)
            return DataLoader(read, batch_size=None, sampler=sampler, collate_fn=pair)

        ways: dict[str, Callable[[], list[float]]] = {
            "bare loop over tensors in memory": lambda: bare_loop(images, labels),
            "Lightning, DataLoader, metrics in every step, progress bar": lambda: lightning(
                Plain(), loader(), bar=True
            ),
            "… without progress bar": lambda: lightning(Plain(), loader(), bar=False),
            "… without metrics in every step": lambda: lightning(Quiet(), loader(), bar=False),
            "… whole batches at once": lambda: lightning(Quiet(), whole_batches(), bar=False),
            "the generated project, tracked": lambda: timed_project(package),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(TURNS):
            for name, way in ways.items():
                print(f"turn {turn + 1}/{TURNS}: {name}", file=sys.stderr)
                seconds[name] += way()[1:]
    rates = {name: SAMPLES / min(values) for name, values in seconds.items()}
    print(json.dumps(rates))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
