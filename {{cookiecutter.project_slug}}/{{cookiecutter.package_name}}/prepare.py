"""Stage `prepare`: check the raw data and split it into memory-mappable arrays."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import hydra
import numpy as np
from omegaconf import DictConfig

from workflow.paths import PREPARED_DATA, RAW_DATA

SPLITS = ("train", "validation", "test")
UNREADABLE = (OSError, KeyError, ValueError, TypeError, EOFError, BadZipFile)


class DataError(Exception):
    """The raw data is not what conf/data/ declares."""


@hydra.main(version_base="1.3", config_path="../conf", config_name="config")
def main(config: DictConfig) -> None:
    source = RAW_DATA / f"{config.data.name}.npz"
    try:
        with np.load(source) as raw:
            images, labels = raw["images"], raw["labels"]
        check(images, labels, config.data)
    except (DataError, *UNREADABLE) as error:
        raise SystemExit(f"prepare: {source.as_posix()}: {error}") from None

    parts = split(labels, config.data.validation_share, config.data.test_share, config.seed)
    write(PREPARED_DATA, images, labels, parts, pixel_type(config.data.max_value))
    sizes = ", ".join(f"{len(indices)} {name}" for name, indices in parts.items())
    print(f"{sizes} samples written to {PREPARED_DATA.as_posix()}")


def write(
    folder: Path,
    images: np.ndarray,
    labels: np.ndarray,
    parts: dict[str, np.ndarray],
    pixels: np.dtype[Any],
) -> None:
    """Write the samples of each part as arrays: images of the type `pixels`, labels as int64."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, indices in parts.items():
        np.save(folder / f"{name}_images.npy", images[indices].astype(pixels))
        np.save(folder / f"{name}_labels.npy", labels[indices].astype(np.int64))


def pixel_type(max_value: int) -> np.dtype[Any]:
    """Return the smallest type that has all whole numbers to `max_value`: uint8, 16 or 32."""
    return np.min_scalar_type(max_value)


def check(images: np.ndarray, labels: np.ndarray, schema: DictConfig) -> None:
    """Refuse data that breaks the schema declared in conf/data/.

    Args:
        images: (n, rows, columns), whole numbers from 0 to `schema.max_value`.
        labels: (n,), indices into `schema.classes`.

    Raises:
        DataError: says what is wrong, and with which sample.
    """
    if images.dtype.kind not in "buif":
        raise DataError(f"images are {images.dtype}, not numbers")
    if labels.ndim != 1:
        raise DataError(f"labels are {labels.shape}, not one for each image")
    if len(images) != len(labels):
        raise DataError(f"{len(images)} images but {len(labels)} labels")
    if images.shape[1:] != tuple(schema.image_shape):
        expected = tuple(schema.image_shape)
        raise DataError(f"images are {images.shape[1:]}, conf/data/ says image_shape {expected}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels are {labels.dtype}, not whole numbers")
    _refuse_samples(~np.isfinite(images), "image", "has a value that is not a number")
    _refuse_samples(images != np.floor(images), "image", "has a value that is not whole")
    _refuse_samples(
        (images < 0) | (images > schema.max_value),
        "image",
        f"has a value outside 0 to {schema.max_value} (conf/data/: max_value)",
    )
    classes = len(schema.classes)
    _refuse_samples(
        (labels < 0) | (labels >= classes),
        "label",
        f"is none of the {classes} classes (conf/data/: classes)",
    )
    counts = np.bincount(labels.astype(np.int64), minlength=classes)
    for name, size in zip(schema.classes, counts.tolist(), strict=True):
        if size < len(SPLITS):
            has = "no sample" if size == 0 else f"{size} sample{'s' * (size > 1)}"
            parts = ", ".join(SPLITS)
            raise DataError(f"class {name} has {has}; it needs one in each part: {parts}")


def split(
    labels: np.ndarray, validation_share: float, test_share: float, seed: int
) -> dict[str, np.ndarray]:
    """Split sample indices at random, each class in the same shares (stratified).

    No part is without a class: where a share would be less than one sample, it is one.

    Args:
        labels: (n,), class indices, each at least three times.
    Returns:
        sorted indices for each name in `SPLITS`.
    """
    generator = np.random.default_rng(seed)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in SPLITS}
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        size = len(members)
        test = min(max(round(size * test_share), 1), size - 2)
        validation = min(max(round(size * validation_share), 1), size - test - 1)
        parts["test"].append(members[:test])
        parts["validation"].append(members[test : test + validation])
        parts["train"].append(members[test + validation :])
    return {name: np.sort(np.concatenate(indices)) for name, indices in parts.items()}


def _refuse_samples(wrong: np.ndarray, what: str, problem: str) -> None:
    samples = np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))
    if len(samples):
        more = f" ({len(samples)} such samples)" if len(samples) > 1 else ""
        raise DataError(f"{what} {samples[0]} {problem}{more}")


if __name__ == "__main__":
    main()
