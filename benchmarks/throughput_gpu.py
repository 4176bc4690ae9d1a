"""Training samples per second on a GPU: bare loops, and a generated project, in one process.

Run in an environment of a generated project: python throughput_gpu.py PROJECT. Prints JSON.
Nothing is fetched: torch, lightning, hydra-core and wandb are enough, without a network.
`--device cpu` and BENCHMARK_SAMPLES=2000 try the script itself; its numbers say nothing then.
"""

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import throughput  # first: it sets the number of threads
import torch
from synthetic import CLASSES, EPOCHS, OVERRIDES, SAMPLES, SIZE, synthetic_project
from torch import nn
from torch.nn import functional

WARM_UP = 2  # epochs: a compiler works in the first, CUDA graphs are recorded in the next
CHANNELS = (32, 64)
SYNC = "called a synchronizing CUDA operation"  # what PyTorch warns of
# What the rows of a network are compared with.
COMPILED = "bare loop, data on the GPU, compiled, CUDA graphs"
MLP = [*OVERRIDES, "loader.batch_size=256"]
CNN = [
    *(text for text in OVERRIDES if not text.startswith("model")),
    "model=cnn",
    f"model.channels=[{','.join(map(str, CHANNELS))}]",
    "model.dropout=0.0",
    "loader.batch_size=1024",
    "precision=bf16",
]


class Clock(throughput.Clock):
    """Waits for the GPU before it reads the time."""

    def on_train_epoch_start(self, *_: object) -> None:
        synchronize()
        super().on_train_epoch_start()

    def stop(self) -> None:
        synchronize()
        super().stop()


class Waits(L.Callback):
    """Finds what waits for the GPU within an epoch, but for its first and last batch."""

    def __init__(self) -> None:
        self.places: set[str] = set()

    def on_train_batch_start(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.fit_loop.epoch_loop.batch_idx == 1 and trainer.current_epoch >= WARM_UP:
            torch.cuda.set_sync_debug_mode("warn")

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.fit_loop.epoch_loop.batch_idx >= trainer.num_training_batches - 2:
            torch.cuda.set_sync_debug_mode("default")


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def mlp() -> nn.Module:
    return throughput.network()


def cnn() -> nn.Module:
    torch.manual_seed(0)
    first, second = CHANNELS
    return nn.Sequential(
        nn.Unflatten(1, (1, SIZE)),
        nn.Conv2d(1, first, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(first, second, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * (SIZE // 2) ** 2, CLASSES),
    )


class Bare:
    """A loop by hand over bytes, which are on the GPU, or copied there from pinned memory."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, device: str) -> None:
        self.images, self.labels, self.device = images, labels, device

    def __call__(
        self,
        network: nn.Module,
        batch_size: int,
        *,
        is_resident: bool = True,
        compiled: bool = False,
        bf16: bool = False,
    ) -> list[float]:
        """Return the seconds of each epoch."""
        network = network.to(self.device)
        model = torch.compile(network, mode="reduce-overhead") if compiled else network
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
        place = self.device if is_resident else "cpu"
        images, labels = self.images.to(place), self.labels.to(place)
        seconds = []
        for _ in range(WARM_UP + EPOCHS):
            synchronize()
            start = time.perf_counter()
            for indices in torch.randperm(SAMPLES, device=place).split(batch_size):
                inputs, target = images[indices], labels[indices]
                if not is_resident:
                    inputs, target = self.copied(inputs), self.copied(target)
                optimizer.zero_grad()
                with torch.autocast(self.device, torch.bfloat16, enabled=bf16):
                    loss = functional.cross_entropy(model(inputs.float() / 255), target)
                loss.backward()
                optimizer.step()
            synchronize()
            seconds.append(time.perf_counter() - start)
        return seconds

    def copied(self, values: torch.Tensor) -> torch.Tensor:
        if self.device == "cpu":
            return values
        return values.pin_memory().to(self.device, non_blocking=True)


def project(package: str, overrides: list[str], callback: L.Callback) -> None:
    """Run the generated project's own `train`, tracked, checkpointed and validated."""
    epochs = f"trainer.max_epochs={WARM_UP + EPOCHS}"
    throughput.project(package, [*overrides, epochs], callback)


def waits(package: str, overrides: list[str]) -> list[str]:
    """Return where a step of the project waits for the GPU: files and lines."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        project(package, overrides, Waits())
    found = {f"{w.filename}:{w.lineno}" for w in caught if SYNC in str(w.message)}
    return sorted(found)


def ways(package: str, bare: Bare, trainer: str) -> dict[str, dict[str, Callable[[], Any]]]:
    """Return what is measured, by network."""

    def of_project(overrides: list[str], *more: str) -> Callable[[], list[float]]:
        def measure() -> list[float]:
            clock = Clock()
            project(package, [*overrides, f"trainer={trainer}", *more], clock)
            return clock.seconds

        return measure

    def of(make: Callable[[], nn.Module], overrides: list[str], size: int, bf16: bool) -> Any:
        return {
            "bare loop, data on the GPU": lambda: bare(make(), size, bf16=bf16),
            COMPILED: lambda: bare(make(), size, bf16=bf16, compiled=True),
            "bare loop, from pinned memory": lambda: bare(
                make(), size, bf16=bf16, is_resident=False
            ),
            "the project, `loader=memory`": of_project(overrides),
            "the project, `loader=device`": of_project(overrides, "loader.on_device=true"),
            "… and `trainer.compile=true`": of_project(
                overrides, "loader.on_device=true", "trainer.compile=true"
            ),
            "… and `trainer.compile=reduce-overhead`": of_project(
                overrides, "loader.on_device=true", "trainer.compile=reduce-overhead"
            ),
            "… and `trainer.deterministic=false`": of_project(
                overrides,
                "loader.on_device=true",
                "trainer.compile=reduce-overhead",
                "trainer.deterministic=false",
            ),
        }

    return {
        "MLP 784-256-128-10, batch 256": of(mlp, MLP, 256, bf16=False),
        "CNN 32-64, batch 1024, bf16": of(cnn, CNN, 1024, bf16=True),
    }


def measure(folder: Path, device: str) -> dict[str, Any]:
    """Return the device, samples per second by network and way, and where a step waits."""
    package = next(path.parent.name for path in folder.glob("*/train.py"))
    trainer = "cpu" if device == "cpu" else "gpu"
    rates: dict[str, dict[str, float]] = {}
    problems = []
    with synthetic_project(folder) as (images, labels):
        pixels = (torch.from_numpy(images) * 255).round().to(torch.uint8)
        bare = Bare(pixels, torch.from_numpy(labels), device)
        for network, measured in ways(package, bare, trainer).items():
            rates[network] = {}
            for name, way in measured.items():
                print(f"{network}: {name}", file=sys.stderr, flush=True)
                try:
                    rates[network][name] = SAMPLES / min(way()[WARM_UP:])
                except Exception as error:  # the others are worth having: no second try there
                    problems.append(f"{network}: {name}: {type(error).__name__}: {error}"[:500])
        places = []
        if device != "cpu":
            options = [*MLP, "trainer=gpu", "loader.on_device=true"]
            places = waits(package, options)
    return {
        "device": torch.cuda.get_device_name() if device != "cpu" else "a CPU",
        "versions": f"torch {torch.__version__}, Lightning {L.__version__}",
        "rates": rates,
        "waits": places,
        "problems": problems,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("bench: torch sees no GPU here: run this on a machine that has one")
    print(json.dumps(measure(options.project.resolve(), options.device)))


if __name__ == "__main__":
    main()
