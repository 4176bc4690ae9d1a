"""Preparing data, and reading it as batches."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from my_ml_project.data import (
    ArrayDataModule,
    ArrayDataset,
    BatchSampler,
)
from my_ml_project.prepare import (
    DataError,
    check,
    pixel_type,
    split,
    write,
)
from workflow.paths import PREPARED_DATA

LABELS = np.repeat(np.arange(4), [20, 40, 60, 80])


def test_split_is_disjoint_and_complete() -> None:
    parts = split(LABELS, validation_share=0.15, test_share=0.2, seed=0)
    indices = np.concatenate(list(parts.values()))
    assert sorted(indices) == list(range(len(LABELS)))


def test_split_is_stratified() -> None:
    parts = split(LABELS, validation_share=0.15, test_share=0.2, seed=0)
    assert np.bincount(LABELS[parts["test"]]).tolist() == [4, 8, 12, 16]
    assert np.bincount(LABELS[parts["validation"]]).tolist() == [3, 6, 9, 12]


def test_split_is_a_function_of_the_seed() -> None:
    first, again, other = (split(LABELS, 0.15, 0.2, seed)["test"].tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("sizes", [(3, 3), (3, 4, 5), (3, 60, 7, 1000)])
@pytest.mark.parametrize("shares", [(0.15, 0.2), (0.01, 0.01), (0.6, 0.39), (0.49, 0.5)])
def test_no_part_is_without_a_class(sizes: tuple[int, ...], shares: tuple[float, float]) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    parts = split(labels, *shares, seed=0)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(labels)))
    for indices in parts.values():
        assert set(labels[indices]) == set(range(len(sizes)))


def good_data(data) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(3 * len(data.classes)) % len(data.classes)
    return np.full((len(labels), *data.image_shape), data.max_value, dtype=float), labels


def test_good_data_is_accepted(config) -> None:
    data = config().data
    check(*good_data(data), data)


def spoil_image(value: float) -> Callable:
    def spoil(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images[5, 0, 0] = value
        return images, labels

    return spoil


def spoil_label(value: int) -> Callable:
    def spoil(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels[5] = value
        return images, labels

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda images, labels: (images[1:], labels), "images but"),
        (lambda images, labels: (images[:, 1:], labels), "image_shape"),
        (lambda images, labels: (images, labels.astype(float)), "not whole numbers"),
        (lambda images, labels: (images[labels > 0], labels[labels > 0]), "0 has no sample"),
        (lambda images, labels: (images[1:], labels[1:]), "class 0 has 2 samples; it needs one in"),
        (lambda images, labels: (images.astype(str), labels), "images are <U.*, not numbers"),
        (lambda images, labels: (images, labels[:, None]), "not one for each image"),
        (spoil_image(np.nan), "image 5 has a value that is not a number"),
        (spoil_image(0.5), "image 5 has a value that is not whole"),
        (spoil_image(-1), "image 5 has a value outside"),
        (spoil_image(1e6), "image 5 has a value outside"),
        (spoil_label(-1), "label 5 is none of"),
        (spoil_label(1000), "label 5 is none of"),
    ],
)
def test_bad_data_is_refused(spoil: Callable, said: str, config) -> None:
    data = config().data
    with pytest.raises(DataError, match=said):
        check(*spoil(*good_data(data)), data)


@pytest.mark.parametrize(
    ("max_value", "name"),
    [(1, "uint8"), (255, "uint8"), (256, "uint16"), (65535, "uint16"), (2**24, "uint32")],
)
def test_prepared_pixels_are_those_of_the_raw_data(
    max_value: int, name: str, tmp_path: Path
) -> None:
    labels = np.repeat([0, 1], 6)
    images = np.linspace(0, max_value, 12 * 4).round().reshape(12, 2, 2)
    parts = split(labels, 0.2, 0.2, seed=0)
    write(tmp_path, images, labels, parts, pixel_type(max_value))
    for part, indices in parts.items():
        dataset = ArrayDataset(tmp_path, part)
        read, _ = dataset[torch.arange(len(dataset))]
        assert str(read.dtype) == f"torch.{name}"
        assert read.float().tolist() == images[indices].tolist()


def order(sampler: BatchSampler, epoch: int = 0) -> list[int]:
    sampler.set_epoch(epoch)
    return torch.cat(list(sampler)).tolist()


@pytest.mark.parametrize(
    ("size", "batch_size", "sizes"),
    [
        (22, 4, [4, 4, 4, 4, 4, 2]),
        (20, 4, [4, 4, 4, 4, 4]),
        (21, 4, [4, 4, 4, 4, 5]),  # BatchNorm cannot train on a batch of one
        (5, 4, [5]),
        (3, 2, [3]),
        (3, 1, [1, 1, 1]),
        (1, 4, [1]),
    ],
)
def test_sampler_yields_every_index_once_an_epoch(
    size: int, batch_size: int, sizes: list[int]
) -> None:
    sampler = BatchSampler(size, batch_size, seed=0)
    assert [len(batch) for batch in sampler] == sizes
    assert len(sampler) == len(sizes)
    assert sorted(order(sampler)) == list(range(size))


def test_sampler_order_is_a_function_of_seed_and_epoch() -> None:
    sampler = BatchSampler(size=21, batch_size=4, seed=0)
    assert order(sampler, epoch=3) == order(BatchSampler(21, 4, seed=0), epoch=3)
    assert order(sampler, epoch=3) != order(sampler, epoch=4)
    assert order(sampler, epoch=3) != order(BatchSampler(21, 4, seed=1), epoch=3)


def test_sampler_without_a_seed_keeps_the_order() -> None:
    assert order(BatchSampler(size=21, batch_size=4, seed=None), epoch=3) == list(range(21))


def test_processes_share_the_indices() -> None:
    shares = [order(BatchSampler(21, 4, seed=0, rank=rank, processes=2)) for rank in (0, 1)]
    assert len(shares[0]) == len(shares[1]) == 11  # one index is used twice
    assert set(shares[0]) | set(shares[1]) == set(range(21))
    for rank in (0, 1):  # nine for each, of which none is alone in a batch
        sampler = BatchSampler(18, 4, seed=0, rank=rank, processes=2)
        assert [len(batch) for batch in sampler] == [4, 5]


def test_dataset_is_memory_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "train_images.npy", np.zeros((10, 2, 2), dtype=np.uint8))
    np.save(tmp_path / "train_labels.npy", np.arange(10))
    dataset = ArrayDataset(tmp_path, "train")
    assert len(dataset) == 10

    # A map sees what is written to the file after it was opened; a copy would not.
    images = np.load(tmp_path / "train_images.npy", mmap_mode="r+")
    images[3] = 7
    images.flush()
    batch, labels = dataset[torch.tensor([3, 5])]
    assert batch[0].tolist() == [[7, 7], [7, 7]]
    assert labels.tolist() == [3, 5]


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_yields_whole_batches(workers: int, workspace: Path, config) -> None:
    classes = len(config().data.classes)
    module = ArrayDataModule(PREPARED_DATA, batch_size=8, workers=workers, shuffle=True, seed=0)
    loaded = list(module.train_dataloader())
    images, labels = loaded[0]
    assert images.shape == (8, *config().data.image_shape)
    assert images.dtype == torch.uint8
    assert labels.shape == (8,)
    labels = torch.cat([labels for _, labels in loaded])
    assert labels.bincount().tolist() == [6] * classes
