"""Random data of the size that throughput is measured on, in a copy of a project."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SAMPLES = int(os.environ.get("BENCHMARK_SAMPLES", "60000"))
SIZE, CLASSES, BATCH = 28, 10, 256
HIDDEN = (256, 128)
EPOCHS = 2  # timed ones of each turn
TURNS = 3
THREADS = int(os.environ.get("BENCHMARK_THREADS", "2"))
# Folders at the top that the copy does without: not those of such a name in workflow/.
LEFT = (".venv", ".git", "wandb", "runs", "outputs")
# Of the project's config; the framework's own keys come on top.
OVERRIDES = [
    "model=mlp",
    f"model.hidden=[{','.join(map(str, HIDDEN))}]",
    "model.dropout=0.0",
    f"data.inputs.images.rows={SIZE}",
    f"data.inputs.images.columns={SIZE}",
    "data.inputs.images.max_value=255",
    f"loader.batch_size={BATCH}",
    f"trainer.threads={THREADS}",
    "callbacks.early_stopping.patience=100",
    "tracking.mode=offline",
]


@contextlib.contextmanager
def synthetic_project(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A copy of the project whose prepared data is random 28x28 images.

    Yields the training images, float32 (n, 28, 28) from 0 to 1, and their classes (n,).
    """
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / folder.name
        shutil.copytree(folder, copy, ignore=lambda at, names: LEFT if Path(at) == folder else ())
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        generator = np.random.default_rng(0)
        prepared = copy / "data" / "prepared"
        prepared.mkdir(parents=True, exist_ok=True)
        for split, samples in (("train", SAMPLES), ("validation", 1000)):
            shape = (samples, SIZE, SIZE)
            np.save(prepared / f"{split}_images.npy", generator.integers(0, 256, shape, np.uint8))
            np.save(prepared / f"{split}_target.npy", generator.integers(0, CLASSES, samples))
        images = np.load(prepared / "train_images.npy").astype(np.float32) / 255
        yield images, np.load(prepared / "train_target.npy")
