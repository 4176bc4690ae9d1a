"""Stage `prepare`: check the raw data and split it into memory-mappable arrays, or into shards.

It is read in pieces: of each sample, no more than the target stays in memory.
"""

import zlib
from collections.abc import Iterator, Mapping
from typing import Any
from zipfile import BadZipFile

import hydra
import numpy as np
from omegaconf import DictConfig

from workflow import signature
from workflow.config.schema import plain
from workflow.config.values import nearest
from workflow.errors import CommandError
from workflow.paths import PREPARED_DATA, RAW_DATA
from workflow.prepared import write
from workflow.raw_data import RawData, locate
from workflow.signature import Inputs, SignatureError

SPLITS = ("train", "validation", "test")
UNREADABLE = (OSError, ValueError, TypeError, EOFError, BadZipFile, zlib.error)


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> None:
    data = plain(config)["data"]
    try:
        raw = locate(RAW_DATA, data["name"])
    except CommandError as error:
        raise SystemExit(f"prepare: {error}") from None
    try:
        require_arrays(raw.sizes, data)
        target = encode_target(raw, data["target"])
        check_size(target, data["target"])
        # Classes are in each split in the same proportions; values are split at random.
        is_classes = data["target"]["kind"] == "classes"
        strata = target if is_classes else np.zeros(len(target), np.int64)
        parts = split(strata, data["validation_fraction"], data["test_fraction"], config.seed)
        write(PREPARED_DATA, encode_inputs(raw, data), target, parts, config.prepare.shard_mb)
    except UNREADABLE as error:  # of which SignatureError is one
        raise SystemExit(f"prepare: {raw.reading.as_posix()}: {error}") from None
    sizes = ", ".join(f"{len(indices)} {name}" for name, indices in parts.items())
    print(f"{sizes} samples written to {PREPARED_DATA.as_posix()}")


def require_arrays(sizes: Mapping[str, int], data: Mapping[str, Any]) -> None:
    """Check that there is each array that `data` declares, all of one size.

    Args:
        sizes: the number of samples of each raw array.
        data: the config's `data`.

    Raises:
        SignatureError: one is missing, or has more or fewer samples than the target.
    """
    specs = signature.inputs(data)
    names = [*(name for spec in specs for name in array_names(spec)), "target"]
    missing = [name for name in names if name not in sizes]
    if missing:
        hint = nearest(missing[0], sorted({*sizes} - {*names}))
        raise SignatureError(f"array {missing[0]} is missing, conf/data/ declares it; {hint}")
    number = sizes["target"]
    if not number:
        raise SignatureError("there is no sample")
    for name in names:
        if sizes[name] != number:
            raise SignatureError(f"{sizes[name]} samples of {name}, but {number} of target")


def encode_target(raw: RawData, declared: Mapping[str, Any]) -> np.ndarray:
    """Return the target (n,) of all samples, as the model takes it.

    Raises:
        SignatureError: it is not what the config's `data.target` declares.
    """
    pieces = raw.pieces(["target"])
    try:
        encoded = [signature.encode_target(declared, one["target"], raw.first) for one in pieces]
    except SignatureError as error:
        raise SignatureError(f"{error}; conf/data/ declares it") from None
    return np.concatenate(encoded)


def encode_inputs(raw: RawData, data: Mapping[str, Any]) -> Iterator[Inputs]:
    """Yield the inputs (n, …) by name of some samples after the other, as the model takes them.

    Raises:
        SignatureError: an array is not what the config's `data` declares.
    """
    specs = signature.inputs(data)
    for piece in raw.pieces(name for spec in specs for name in array_names(spec)):
        try:
            yield {s["name"]: signature.encode(s, given(s, piece), raw.first) for s in specs}
        except SignatureError as error:
            raise SignatureError(f"{error}; conf/data/ declares it") from None


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


if __name__ == "__main__":
    main()
