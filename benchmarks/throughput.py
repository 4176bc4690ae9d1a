"""Training samples per second of a generated project, beside a bare loop, in one process.

Run in the environment of a generated project: python throughput.py PROJECT. Prints JSON.
Each way trains the same network on the same data with the same optimizer; the first epoch of
each is left out, and the ways take turns; the fastest epoch is the one least disturbed.
"""

import contextlib
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ.get("BENCHMARK_THREADS", "2")

import lightning as L
import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

SAMPLES, SIZE, CLASSES, BATCH = 60_000, 28, 10, 256
EPOCHS = 2  # timed ones of each turn
TURNS = 3


class Clock(L.Callback):
    """Times the training part of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, *_: object) -> None:
        self.start = time.perf_counter()

    def on_validation_start(self, *_: object) -> None:
        self.seconds.append(time.perf_counter() - self.start)

    def on_train_epoch_end(self, *_: object) -> None:
        if len(self.seconds) < EPOCHS + 1:  # no validation in this way
            self.seconds.append(time.perf_counter() - self.start)


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(SIZE * SIZE, 256),
        torch.nn.ReLU(),
        torch.nn.Linear(256, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, CLASSES),
    )


def bare_loop(images: torch.Tensor, labels: torch.Tensor) -> list[float]:
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


def project(package: str) -> list[float]:
    """The generated project's own `train`, tracked, checkpointed and validated."""
    compose = importlib.import_module("workflow.config.compose")
    schema = importlib.import_module("workflow.config.schema")
    train = importlib.import_module(f"{package}.train")
    clock = Clock()
    overrides = [
        "model=mlp",
        "model.hidden=[256,128]",
        "model.dropout=0.0",
        f"data.inputs.images.rows={SIZE}",
        f"data.inputs.images.columns={SIZE}",
        "data.inputs.images.max_value=255",
        f"loader.batch_size={BATCH}",
        "optimizer.lr=1e-3",
        f"trainer.max_epochs={EPOCHS + 1}",
        f"trainer.threads={torch.get_num_threads()}",
        "callbacks.early_stopping.patience=100",
        "tracking.mode=offline",
    ]
    original = L.Trainer.__init__

    def with_clock(self: L.Trainer, *args: object, **kwargs: object) -> None:
        kwargs["callbacks"] = kwargs["callbacks"] + [clock]  # type: ignore[operator]
        original(self, *args, **kwargs)

    L.Trainer.__init__ = with_clock
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            train.train(schema.plain(compose.compose(overrides)), Path(folder))
    finally:
        L.Trainer.__init__ = original
    return clock.seconds[: EPOCHS + 1]


@contextlib.contextmanager
def synthetic_project(folder: Path) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """A copy of the project whose prepared data is random 28x28 images."""
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / folder.name
        ignore = shutil.ignore_patterns(".venv", ".git", "wandb", "runs", "outputs")
        shutil.copytree(folder, copy, ignore=ignore)
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        generator = np.random.default_rng(0)
        prepared = copy / "data" / "prepared"
        prepared.mkdir(parents=True, exist_ok=True)
        for split, samples in (("train", SAMPLES), ("validation", 1000)):
            shape = (samples, SIZE, SIZE)
            np.save(prepared / f"{split}_images.npy", generator.integers(0, 256, shape, np.uint8))
            np.save(prepared / f"{split}_target.npy", generator.integers(0, CLASSES, samples))
        images = torch.from_numpy(np.load(prepared / "train_images.npy")).float() / 255
        labels = torch.from_numpy(np.load(prepared / "train_target.npy"))
        yield images, labels


def main(folder: Path) -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    package = next(path.parent.name for path in folder.glob("*/train.py"))
    with synthetic_project(folder) as (images, labels):
        dataset = TensorDataset(images, labels)

        def loader() -> DataLoader:
            return DataLoader(dataset, BATCH, shuffle=True)

        def whole_batches() -> DataLoader:
            data = importlib.import_module(f"{package}.data")
            arrays = data.ArrayDataset(Path("data/prepared"), "train", [])
            arrays.inputs, arrays.target = {"images": images}, labels
            sampler = data.BatchSampler(SAMPLES, BATCH, seed=0)
            return DataLoader(arrays, batch_size=None, sampler=sampler, collate_fn=pair)

        ways: dict[str, Callable[[], list[float]]] = {
            "bare loop over tensors in memory": lambda: bare_loop(images, labels),
            "Lightning, DataLoader, metrics in every step, progress bar": lambda: lightning(
                Plain(), loader(), bar=True
            ),
            "… without progress bar": lambda: lightning(Plain(), loader(), bar=False),
            "… without metrics in every step": lambda: lightning(Quiet(), loader(), bar=False),
            "… whole batches at once": lambda: lightning(Quiet(), whole_batches(), bar=False),
            "the generated project, tracked": lambda: project(package),
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
