"""Stage `prepare`: check the raw data and split it into memory-mappable arrays."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import hydra
import numpy as np
from omegaconf import DictConfig

from workflow import signature
from workflow.config.schema import plain
from workflow.config.values import nearest
from workflow.paths import PREPARED_DATA, RAW_DATA
from workflow.signature import SignatureError

SPLITS = ("train", "validation", "test")
UNREADABLE = (OSError, ValueError, TypeError, EOFError, BadZipFile)  # SignatureError, too


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> None:
    data = plain(config)["data"]
    source = RAW_DATA / f"{data['name']}.npz"
    try:
        inputs, target = encode(read(source), data)
        check_size(target, data["target"])
    except UNREADABLE as error:
        problem = "is missing: run stage fetch" if not source.exists() else str(error)
        raise SystemExit(f"prepare: {source.as_posix()}: {problem}") from None

    # Classes are in each split in the same proportions; values are split at random.
    strata = target if data["target"]["kind"] == "classes" else np.zeros(len(target), np.int64)
    parts = split(strata, data["validation_fraction"], data["test_fraction"], config.seed)
    write(PREPARED_DATA, inputs, target, parts)
    sizes = ", ".join(f"{len(indices)} {name}" for name, indices in parts.items())
    print(f"{sizes} samples written to {PREPARED_DATA.as_posix()}")


def read(source: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz file by their names.

    Raises:
        SignatureError: an array holds Python objects, such as texts of a pandas column.
    """
    with np.load(source) as file:
        arrays = {}
        for name in file.files:
            try:
                arrays[name] = file[name]
            except ValueError as error:
                if "allow_pickle" not in str(error):
                    raise
                fix = "save texts as .astype(str), numbers as .astype(float)"
                raise SignatureError(f"{name} holds Python objects: {fix}") from None
    return arrays


def encode(
    raw: Mapping[str, np.ndarray], data: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the inputs (n, …) by name and the target (n,), as the model takes them.

    Args:
        raw: an array for each input, for each column of `features`, and `target`.
        data: the config's `data`.

    Raises:
        SignatureError: an array is missing, or is not what `data` declares.
    """
    specs = signature.inputs(data)
    names = [name for spec in specs for name in array_names(spec)]
    missing = [name for name in [*names, "target"] if name not in raw]
    if missing:
        hint = nearest(missing[0], sorted({*raw} - {*names}))
        raise SignatureError(f"array {missing[0]} is missing, conf/data/ declares it; {hint}")
    sizes = {name: len(np.atleast_1d(raw[name])) for name in [*names, "target"]}
    for name, size in sizes.items():
        if size != sizes["target"]:
            raise SignatureError(f"{size} samples of {name}, but {sizes['target']} of target")
    try:
        target = signature.encode_target(data["target"], raw["target"])
        inputs = {spec["name"]: signature.encode(spec, given(spec, raw)) for spec in specs}
    except SignatureError as error:
        raise SignatureError(f"{error}; conf/data/ declares it") from None
    return inputs, target


def array_names(spec: Mapping[str, Any]) -> list[str]:
    """Return the names of the raw arrays of an input."""
    if spec["kind"] == "features":
        return [column["name"] for column in spec["columns"]]
    return [spec["name"]]


def given(spec: Mapping[str, Any], raw: Mapping[str, np.ndarray]) -> Any:
    """Return the raw values of an input."""
    if spec["kind"] == "features":
        return {name: raw[name] for name in array_names(spec)}
    return raw[spec["name"]].tolist() if spec["kind"] == "text" else raw[spec["name"]]


def check_size(target: np.ndarray, declared: Mapping[str, Any]) -> None:
    """Check that there is a sample for each split: of each class, where there are classes.

    Raises:
        SignatureError: there are too few.
    """
    counts = {"the data": len(target)}
    if declared["kind"] == "classes":
        sizes = np.bincount(target, minlength=len(declared["names"])).tolist()
        counts = {f"class {name}": n for name, n in zip(declared["names"], sizes, strict=True)}
    for name, size in counts.items():
        if size < len(SPLITS):
            has = "no sample" if size == 0 else f"{size} sample{'s' * (size > 1)}"
            splits = ", ".join(SPLITS)
            raise SignatureError(f"{name} has {has}; it needs one in each split: {splits}")


def split(
    strata: np.ndarray, validation_fraction: float, test_fraction: float, seed: int
) -> dict[str, np.ndarray]:
    """Split sample indices at random, in the same proportions in each stratum.

    No split is without a stratum: where a fraction would be less than one sample, it is one.

    Args:
        strata: (n,), each value at least three times.
    Returns:
        sorted indices for each name in `SPLITS`.
    """
    generator = np.random.default_rng(seed)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    for stratum in np.unique(strata):
        members = generator.permutation(np.flatnonzero(strata == stratum))
        size = len(members)
        test = min(max(round(size * test_fraction), 1), size - 2)
        validation = min(max(round(size * validation_fraction), 1), size - test - 1)
        parts["test"].append(members[:test])
        parts["validation"].append(members[test : test + validation])
        parts["train"].append(members[test + validation :])
    return {name: np.sort(np.concatenate(indices)) for name, indices in parts.items()}


def write(
    folder: Path,
    inputs: Mapping[str, np.ndarray],
    target: np.ndarray,
    parts: Mapping[str, np.ndarray],
) -> None:
    """Write the samples of each split: SPLIT_INPUT.npy for each input, and SPLIT_target.npy."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, indices in parts.items():
        for array_name, array in {**inputs, "target": target}.items():
            np.save(folder / f"{name}_{array_name}.npy", array[indices])


if __name__ == "__main__":
    main()
