"""Rate and memory of reading prepared data, of preparing it too; run in a project's environment.

    python stream_reading.py PROJECT    prints JSON: rate in samples/s and peak memory in MB, by way

Each way has a process of its own. Its memory is what it has beside its libraries, without the pages
of mapped files, which the system takes back when it needs them (RssAnon of Linux).
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

SCALES = (1, 4, 16)
SAMPLES = int(os.environ.get("BENCHMARK_SAMPLES", "20000"))  # at scale 1
SIZE, CLASSES, BATCH = 32, 10, 256  # images of 32x32 pixels in colour: 3 kB
SHARD_MB, WINDOW = 4, 8
DATA = {
    "inputs": {
        "images": {"kind": "image", "rows": SIZE, "columns": SIZE, "channels": 3, "max_value": 255}
    },
    "target": {"kind": "classes", "names": [str(number) for number in range(CLASSES)]},
}
WAYS = ("in memory", "loader=memory", "loader=stream")


class Peak(threading.Thread):
    """The most anonymous memory of this process, in MB over that at the start."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = self.first = anonymous()
        self.start()

    def run(self) -> None:
        while True:
            self.most = max(self.most, anonymous())
            time.sleep(0.005)

    @property
    def megabytes(self) -> float:
        return (self.most - self.first) / 1e3


def anonymous() -> int:
    """Return this process's anonymous memory, in kB."""
    text = Path("/proc/self/status").read_text("utf-8")
    return int(text.partition("RssAnon:")[2].split()[0])


def prepare(folder: Path) -> tuple[float, float]:
    """Prepare the raw data of a folder in one file for each input, then in shards."""
    stage = importlib.import_module("my_ml_project.prepare")
    from workflow.prepared import write
    from workflow.raw_data import locate

    raw = locate(folder, "raw")
    peak, start = Peak(), time.perf_counter()
    for name, shard_mb in (("whole", None), ("shards", SHARD_MB)):
        target = stage.encode_target(raw, DATA["target"])
        parts = stage.split(target, 0.05, 0.05, seed=0)
        write(folder / name, stage.encode_inputs(raw, DATA), target, parts, shard_mb)
    return 2 * len(target) / (time.perf_counter() - start), peak.megabytes


def read(folder: Path, way: str) -> tuple[float, float]:
    """Read two epochs of batches, of which the second is timed."""
    options = {"batch_size": BATCH, "workers": 0, "shuffle": True, "seed": 0}
    stream = importlib.import_module("my_ml_project.stream")
    peak = Peak()
    if way == "loader=stream":
        sharded = {"shard_mb": SHARD_MB, "window": WINDOW}
        module = stream.StreamDataModule(folder / "shards", ["images"], **options, **sharded)
    else:
        module = stream.ArrayDataModule(folder / "whole", ["images"], **options, on_device=False)
    loader = module.train_dataloader()
    if way == "in memory":
        arrays = loader.dataset
        arrays.inputs = {name: array.clone() for name, array in arrays.inputs.items()}
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        start, samples = time.perf_counter(), 0
        for _, target in loader:
            samples += len(target)
        seconds = time.perf_counter() - start
    return samples / seconds, peak.megabytes


def measured(folder: Path, scale: int) -> dict[str, tuple[float, float]]:
    """Write raw data in parts, and measure each step in a process of its own."""
    generator = np.random.default_rng(0)
    (folder / "raw").mkdir(parents=True)
    for number in range(scale):
        images = generator.integers(0, 256, (SAMPLES, SIZE, SIZE, 3), np.uint8)
        target = generator.integers(0, CLASSES, SAMPLES)
        np.savez(folder / "raw" / f"{number:02}.npz", images=images, target=target)
    found = {}
    for step in ("prepare", *WAYS):
        command = [sys.executable, __file__, sys.argv[1], str(folder), step]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[step] = json.loads(done.stdout)
        print(f"{scale}x {step}: {found[step]}", file=sys.stderr)
    return found


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    if len(sys.argv) == 4:
        folder, step = Path(sys.argv[2]), sys.argv[3]
        print(json.dumps(prepare(folder) if step == "prepare" else read(folder, step)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folders = {scale: Path(temporary) / str(scale) for scale in SCALES}
        print(json.dumps({scale: measured(folders[scale], scale) for scale in SCALES}))


if __name__ == "__main__":
    main()
