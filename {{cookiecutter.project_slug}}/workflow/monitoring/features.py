"""What is compared: the data that a model was made from, and what it is asked where it serves.

    python -m <package>.monitoring.features --model model=models/model.onnx runs/drift/features.json

Of each image there are a few measures that a person can picture, and the class and the confidence
that the model has. Change `measures` where your inputs are no images.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from arro3.core import Table, list_flatten
from arro3.io import read_parquet

from ..errors import CommandError
from ..paths import PREPARED_DATA
from ..serving import input_log as log
from ..serving import local
from ..serving.model import Model, ModelError, load

LEAST = 200  # images; with fewer, chance alone looks like drift
MOST = 1000  # images, the newest; with many more, differences are found that do not matter

Columns = dict[str, list[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="NAME=FILE, as it was served")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    try:
        name, file = next(iter(local.parse(arguments.model).items()))
        features = collect(load(name, file))
    except (ModelError, CommandError) as error:
        raise SystemExit(f"drift: {error}") from None
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(features), encoding="utf-8")


def collect(model: Model) -> dict[str, Any]:
    """Return the columns `reference` and `current`, and what they are of.

    Raises:
        CommandError: one of the two is missing, or too small.
    """
    served = newest(model)
    times = [time.isoformat(timespec="seconds") for time in served["time"].to_pylist()]
    return {
        "model": model.name,
        "version": model.version,
        "from": min(times),
        "to": max(times),
        "current": current(model, served),
        "reference": reference(model),
    }


def measures(images: np.ndarray, max_value: int) -> Columns:
    """Return measures of each image, each from 0 to 1.

    Args:
        images: (n, rows, columns), values from 0 to `max_value`.
    """
    values = images.astype(np.float64) / max_value
    rows, columns = values.shape[1:]
    mass = np.maximum(values.sum(axis=(1, 2)), 1e-9)
    steps = [np.abs(np.diff(values, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2)]
    found = {
        "brightness": values.mean(axis=(1, 2)),
        "contrast": values.std(axis=(1, 2)),
        "ink": (values > 0.5).mean(axis=(1, 2)),  # the share of it
        "centre row": values.sum(axis=2) @ np.linspace(0, 1, rows) / mass,
        "centre column": values.sum(axis=1) @ np.linspace(0, 1, columns) / mass,
        "roughness": np.mean(steps, axis=0),  # from a pixel to the next
    }
    return {name: list(map(float, column)) for name, column in found.items()}


def reference(model: Model) -> Columns:
    """Return the measures of the training split, and what the model makes of the test split.

    A model is surer of images that it has learnt than of those that it is asked: class and
    confidence are of images that it has not seen.

    Raises:
        CommandError: there is no prepared data, or it is not what this model takes.
    """
    where = PREPARED_DATA.as_posix()
    try:
        train, test = (np.load(PREPARED_DATA / f"{s}_images.npy") for s in ("train", "test"))
    except OSError:
        raise CommandError(f"{where}: no prepared data: inv data.pull or inv train") from None
    found, taken = list(test.shape[1:]), shape(model)
    if found != taken:
        raise CommandError(f"{where}: images of {found}, but the model takes {taken}: inv train")
    datatype = model.signature["inputs"][0]["datatype"]
    if str(test.dtype).upper() != datatype:
        raise CommandError(
            f"{where}: images of {test.dtype}, but the model takes {datatype}: inv train"
        )
    answers = model.predict(test)
    classes = model.signature["classes"]
    return {
        **measures(train, model.signature["max_value"]),
        "predicted class": [classes[index] for index in answers.argmax(axis=1)],
        "confidence": answers.max(axis=1).tolist(),
    }


def current(model: Model, served: Table) -> Columns:
    """Return the same of the rows of a log."""
    pixels = list_flatten(served["input"].combine_chunks()).to_numpy()
    images = pixels.reshape(-1, *shape(model))
    return {
        **measures(images, model.signature["max_value"]),
        "predicted class": list(served["predicted"].to_pylist()),
        "confidence": list(served["probability"].to_pylist()),
    }


def newest(model: Model) -> Table:
    """Return the newest of what this version of a model was asked, the oldest of it first.

    Raises:
        CommandError: there is no log, none of this version, or too little of it.
    """
    folder = log.folder(model.name)
    where = folder.as_posix()
    found: list[Table] = []
    versions = set()
    for version, table in tables(folder):
        versions.add(version)
        if version == model.version:
            found.append(table)
        if rows(found) >= MOST:
            break
    if not versions:
        how = "serve with SERVING_LOG_EVERY=1, or with log_every in conf/serving/"
        raise CommandError(f"{where}: nothing is kept of what is asked: {how}")
    if not found:
        raise CommandError(
            f"{where}: of version {', '.join(sorted(versions))}, not of {model.version}: "
            "name the file that was served: --model NAME=FILE"
        )
    if rows(found) < LEAST:
        reason = f"{rows(found)} images of version {model.version} are kept, {LEAST} are needed"
        raise CommandError(f"{where}: {reason}")
    return Table.from_batches([batch for table in found[::-1] for batch in table.to_batches()])


def tables(folder: Path) -> Iterator[tuple[str, Table]]:
    """Read the files of a log, the newest first; each is of one version of the model."""
    for file in sorted(folder.glob("*.parquet"), reverse=True):
        try:
            table = read_parquet(file).read_all()
        except FileNotFoundError:
            continue  # a service removed it: it was the oldest
        yield table["version"][0].as_py(), table


def rows(found: list[Table]) -> int:
    return sum(table.num_rows for table in found)


def shape(model: Model) -> list[int]:
    """Return the shape of one image."""
    declared: list[int] = model.signature["inputs"][0]["shape"]
    return declared[1:]


if __name__ == "__main__":
    main()
