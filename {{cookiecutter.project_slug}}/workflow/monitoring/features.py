"""What is compared: the training data of a model, and the requests that it served.

    python -m workflow.monitoring.features --model model=models/model.onnx runs/drift/features.json

Of each image and text there are a few figures that a person can picture, of a table its columns;
and what the model answers, with its confidence.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from arro3.core import Table, list_flatten
from arro3.io import read_parquet

from ..errors import CommandError
from ..paths import PREPARED_DATA
from ..prepared import read_split
from ..serving import input_log, local
from ..serving.input_log import INPUT
from ..serving.model import Model, load
from ..signature import DATATYPES, Inputs, decode, decode_columns, distinct

MIN_SAMPLES = 200  # with fewer, chance alone looks like drift
MAX_REFERENCE = 50_000  # samples of a split: data may be larger than memory
MAX_SAMPLES = 1000  # the newest; with many more, differences are found that do not matter

Columns = dict[str, list[Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="NAME=FILE, as it was served")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    try:
        name, file = next(iter(local.parse(arguments.model).items()))
        features = collect(load(name, file))
    except CommandError as error:
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


def columns(spec: dict[str, Any], array: np.ndarray) -> Columns:
    """Return what is compared of an input, a value for each sample, by its name.

    Args:
        spec: the input, as the signature has it.
        array: (n, …), as the model takes it.
    """
    match spec.get("kind"):
        case "image":
            return of_images(array, spec["max_value"])
        case "features":
            return decode_columns(spec, array)
        case "text":
            return of_texts(decode(spec, array))
    flat = array.reshape(len(array), -1).astype(np.float64)
    return {"mean": flat.mean(axis=1).tolist(), "spread": flat.std(axis=1).tolist()}


def of_images(images: np.ndarray, max_value: int) -> Columns:
    """Return figures of each image, each from 0 to 1.

    Args:
        images: (n, rows, columns), or with channels behind, values from 0 to `max_value`.
    """
    values = images.astype(np.float64) / max_value
    colours: Columns = {}
    if values.ndim == 4:
        means = values.mean(axis=(1, 2))
        colours = {f"channel {n}": mean.tolist() for n, mean in enumerate(means.T, start=1)}
        values = values.mean(axis=3)
    rows, columns = values.shape[1:]
    mass = np.maximum(values.sum(axis=(1, 2)), 1e-9)
    steps = [np.abs(np.diff(values, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2)]
    figures = {
        "brightness": values.mean(axis=(1, 2)),
        "contrast": values.std(axis=(1, 2)),
        "ink": (values > 0.5).mean(axis=(1, 2)),  # its fraction
        "centre row": values.sum(axis=2) @ np.linspace(0, 1, rows) / mass,
        "centre column": values.sum(axis=1) @ np.linspace(0, 1, columns) / mass,
        "roughness": np.mean(steps, axis=0),  # from a pixel to the next
    }
    return {name: list(map(float, column)) for name, column in figures.items()} | colours


def of_texts(texts: list[str]) -> Columns:
    """Return the length of each text, and how much of it are letters, digits and capitals."""

    def fraction(of: Callable[[str], bool]) -> list[float]:
        return [sum(map(of, text)) / max(len(text), 1) for text in texts]

    words = [text.split() for text in texts]
    return {
        "characters": [float(len(text)) for text in texts],
        "words": [float(len(split)) for split in words],
        "word length": [sum(map(len, split)) / max(len(split), 1) for split in words],
        "letters": fraction(str.isalpha),
        "digits": fraction(str.isdecimal),
        "capitals": fraction(str.isupper),
    }


def answered(output: dict[str, Any], answers: np.ndarray) -> Columns:
    """Return what is compared of a model's answers (n, …)."""
    match output.get("kind"):
        case "classes":
            classes = [output["names"][index] for index in answers.argmax(axis=1)]
            return {"predicted class": classes, "confidence": answers.max(axis=1).tolist()}
        case "value":
            return {"predicted value": answers.tolist()}
    return columns({}, answers)


def reference(model: Model) -> Columns:
    """Return the columns of the training split, and what the model answers to the test split.

    A model is surer of samples that it has learnt than of those that it is asked: class and
    confidence are of samples that it has not seen.

    Raises:
        CommandError: there is no prepared data, or it is not what this model takes.
    """
    specs = model.signature["inputs"]
    train = {spec["name"]: prepared(spec, "train") for spec in specs}
    test = {spec["name"]: prepared(spec, "test") for spec in specs}
    return together(of_samples(model, train), answered(model.output, model.predict(test)))


def prepared(spec: dict[str, Any], split: str) -> np.ndarray:
    """Read an input of a split of the prepared data, if it is what the model takes.

    Of more than MAX_REFERENCE samples, as many are taken, evenly spaced.
    """
    where, name = PREPARED_DATA.as_posix(), spec["name"]
    try:
        inputs, _ = read_split(PREPARED_DATA, split, [name])
    except OSError:
        problem = f"no prepared data for `{name}`: inv data.pull or inv train"
        raise CommandError(f"{where}: {problem}") from None
    array, shape = inputs[name], spec["shape"][1:]
    if list(array.shape[1:]) != shape or array.dtype != DATATYPES[spec["datatype"]]:
        actual = f"`{name}` is {array.dtype} {list(array.shape[1:])}"
        problem = f"{actual}, but the model takes {spec['datatype']} {shape}: inv train"
        raise CommandError(f"{where}: {problem}")
    number = min(len(array), MAX_REFERENCE)
    reference: np.ndarray = array[np.linspace(0, len(array) - 1, number).astype(int)]
    return reference


def of_samples(model: Model, inputs: Inputs) -> Columns:
    """Return the columns of all inputs; those of several have the input's name in front."""
    specs = model.signature["inputs"]
    merged: Columns = {}
    for spec in specs:
        front = f"{spec['name']}: " if len(specs) > 1 else ""
        by_name = columns(spec, inputs[spec["name"]])
        merged |= {f"{front}{name}": values for name, values in by_name.items()}
    return merged


def together(inputs: Columns, answers: Columns) -> Columns:
    """Return the columns of inputs and of answers, none under the name of another."""
    return distinct(inputs, answers) | answers


def current(model: Model, served: Table) -> Columns:
    """Return the same of the rows of a log."""
    inputs: Inputs = {}
    for spec in model.signature["inputs"]:
        flat = list_flatten(served[f"{INPUT}{spec['name']}"].combine_chunks()).to_numpy()
        inputs[spec["name"]] = flat.reshape(-1, *spec["shape"][1:])
    return together(of_samples(model, inputs), logged_answers(model.output, served))


def logged_answers(output: dict[str, Any], served: Table) -> Columns:
    """Return what a log has of the answers."""
    match output.get("kind"):
        case "classes":
            classes, confidence = (list(served[n].to_pylist()) for n in ("predicted", "confidence"))
            return {"predicted class": classes, "confidence": confidence}
        case "value":
            return {"predicted value": list(served["predicted"].to_pylist())}
    flat = list_flatten(served["output"].combine_chunks()).to_numpy()
    return columns({}, flat.reshape(served.num_rows, -1))


def newest(model: Model) -> Table:
    """Return the newest of what this version of a model was asked, the oldest of it first.

    Raises:
        CommandError: there is no log, none of this version, or too little of it.
    """
    folder = input_log.folder(model.name)
    where = folder.as_posix()
    parts: list[Table] = []
    versions = set()
    for version, table in tables(folder):
        versions.add(version)
        if version == model.version:
            parts.append(table)
        if rows(parts) >= MAX_SAMPLES:
            break
    if not versions:
        how = "serve with SERVING_LOG_EVERY=1, or with log_every in conf/serving/"
        raise CommandError(f"{where}: no request was logged: {how}")
    if not parts:
        raise CommandError(
            f"{where}: of version {', '.join(sorted(versions))}, not of {model.version}: "
            "name the file that was served: --model NAME=FILE"
        )
    if rows(parts) < MIN_SAMPLES:
        logged = f"{rows(parts)} samples of version {model.version} are logged"
        reason = f"{logged}, {MIN_SAMPLES} are needed"
        raise CommandError(f"{where}: {reason}")
    return Table.from_batches([batch for table in parts[::-1] for batch in table.to_batches()])


def tables(folder: Path) -> Iterator[tuple[str, Table]]:
    """Read the files of a log, the newest first; each is of one version of the model."""
    for file in sorted(folder.glob("*.parquet"), reverse=True):
        try:
            table = read_parquet(file).read_all()
        except FileNotFoundError:
            continue  # a service removed it: it was the oldest
        yield table["version"][0].as_py(), table


def rows(parts: list[Table]) -> int:
    return sum(table.num_rows for table in parts)


if __name__ == "__main__":
    main()
