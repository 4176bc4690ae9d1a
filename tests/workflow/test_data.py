"""Preparing data, and reading it as batches."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from my_ml_project.data import ArrayDataModule, ArrayDataset, BatchSampler
from my_ml_project.prepare import (
    check_size,
    encode_inputs,
    encode_target,
    require_arrays,
    split,
)
from workflow import signature
from workflow.paths import PREPARED_DATA
from workflow.prepared import write
from workflow.raw_data import RawData
from workflow.signature import SignatureError

LABELS = np.repeat(np.arange(4), [20, 40, 60, 80])


def test_split_is_disjoint_and_complete() -> None:
    parts = split(LABELS, validation_fraction=0.15, test_fraction=0.2, seed=0)
    indices = np.concatenate(list(parts.values()))
    assert sorted(indices) == list(range(len(LABELS)))


def test_split_is_stratified() -> None:
    parts = split(LABELS, validation_fraction=0.15, test_fraction=0.2, seed=0)
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


DATA = {
    "inputs": {
        "table": {
            "kind": "features",
            "columns": [
                {"name": "age", "range": [0, 120]},
                {"name": "colour", "choices": ["a", "b"]},
            ],
        },
        "photo": {"kind": "image", "rows": 2, "columns": 3, "channels": 3, "max_value": 4095},
        "comment": {"kind": "text", "length": 6},
    },
    "target": {"kind": "classes", "names": ["cat", "dog"]},
}
VALUE = {**DATA, "target": {"kind": "value", "name": "weight"}}


def raw_data(number: int = 12) -> dict[str, np.ndarray]:
    pixels = np.arange(number * 2 * 3 * 3).reshape(number, 2, 3, 3)
    return {
        "age": np.linspace(0, 120, number),
        "colour": np.array(["a", "b"] * (number // 2)),
        "photo": pixels.astype(float),
        "comment": np.array(["größe", "x"] * (number // 2)),
        "target": np.arange(number) % 2,
    }


def saved(folder: Path, raw: dict[str, np.ndarray]) -> RawData:
    np.savez(folder / "raw.npz", **raw)
    return RawData([folder / "raw.npz"])


def prepare(folder: Path, raw: RawData, data: dict) -> None:
    """Do what stage `prepare` does."""
    require_arrays(raw.sizes, data)
    target = encode_target(raw, data["target"])
    write(folder, encode_inputs(raw, data), target, split(target, 0.2, 0.2, seed=0))


def test_prepared_arrays_are_those_of_the_raw_data(tmp_path: Path) -> None:
    raw = raw_data()
    folder = tmp_path / "prepared"
    prepare(folder, saved(tmp_path, raw), DATA)
    parts = split(raw["target"], 0.2, 0.2, seed=0)
    for part, indices in parts.items():
        dataset = ArrayDataset(folder, part, DATA["inputs"])
        read, classes = dataset[torch.arange(len(dataset))]
        assert {name: str(array.dtype) for name, array in read.items()} == {
            "table": "torch.float32",
            "photo": "torch.uint16",
            "comment": "torch.uint8",
        }
        assert read["photo"].tolist() == raw["photo"][indices].tolist()
        assert read["table"][:, 0].tolist() == raw["age"][indices].astype(np.float32).tolist()
        assert read["table"][:, 1].tolist() == [0 if i % 2 == 0 else 1 for i in indices]
        assert classes.tolist() == raw["target"][indices].tolist()


def test_values_are_split_at_random_and_no_split_is_empty(tmp_path: Path) -> None:
    values = np.array([0.25, 0.5, 0.75])
    raw = saved(tmp_path, {"target": np.array([0.5, 0.25, 9, -1])})
    target = encode_target(raw, VALUE["target"])
    assert target.tolist() == [0.5, 0.25, 9, -1]
    parts = split(np.zeros(len(values)), 0.15, 0.2, seed=0)
    assert [len(indices) for indices in parts.values()] == [1, 1, 1]
    check_size(values, VALUE["target"])
    with pytest.raises(SignatureError, match="the data has 2 samples; it needs one in each split"):
        check_size(values[:2], VALUE["target"])


def change(**arrays) -> Callable:
    return lambda raw: {**raw, **arrays}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda raw: {k: v for k, v in raw.items() if k != "age"},
            "array age is missing, conf/data/ declares it",
        ),
        (lambda raw: {**raw, "age": raw["age"][1:]}, "11 samples of age, but 12 of target"),
        (
            change(age=np.full(12, 121)),
            r"age of sample 0 \(121.0\) is outside its range.*; so are 11",
        ),
        (
            change(colour=np.array(["c"] * 12)),
            r"colour of sample 0 \(c\) is not one of the choices",
        ),
        (change(photo=np.zeros((12, 3, 2, 3))), "photo have shape .*; conf/data/ declares it"),
        (change(comment=np.arange(12)), "comment of sample 0 is int, not text"),
        (change(target=np.full(12, 7)), "target of sample 0"),
    ],
)
def test_data_that_differs_from_its_declaration_is_refused(
    spoil: Callable, said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "prepared"
    prepare(folder, saved(tmp_path, raw_data()), DATA)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SignatureError, match=said):
        prepare(folder, saved(tmp_path, spoil(raw_data())), DATA)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert {path.name for path in tmp_path.iterdir()} == {"prepared", "raw.npz"}


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ([1, 1, 1], "class cat has no sample"),
        ([0, 0, 1, 1, 1], "class cat has 2 samples; it needs"),
    ],
)
def test_a_class_that_cannot_be_in_each_split_is_refused(classes: list[int], said: str) -> None:
    with pytest.raises(SignatureError, match=said):
        check_size(np.array(classes), DATA["target"])


def test_texts_of_a_pandas_column_are_refused_with_the_fix(tmp_path: Path) -> None:
    raw = saved(tmp_path, {"comment": np.array(["a", None], dtype=object)})
    with pytest.raises(
        SignatureError, match=r"comment holds Python objects: save texts as .astype\(str"
    ):
        raw.sizes  # noqa: B018


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


def test_sampler_starts_at_any_batch_once() -> None:
    sampler = BatchSampler(size=21, batch_size=4, seed=0)
    whole = order(sampler, epoch=3)
    sampler.first = 2
    assert order(sampler, epoch=3) == whole[8:]
    assert order(sampler, epoch=3) == whole


def test_sampler_without_a_seed_keeps_the_order() -> None:
    assert order(BatchSampler(size=21, batch_size=4, seed=None), epoch=3) == list(range(21))


def test_processes_share_the_indices() -> None:
    samplers = [BatchSampler(21, 4, seed=0, rank=rank, processes=2) for rank in (0, 1)]
    assert len(samplers[0]) == len(samplers[1]) == 3
    assert sorted(order(samplers[0]) + order(samplers[1])) == list(range(21))  # each exactly once
    for rank in (0, 1):  # nine for each, of which none is alone in a batch
        sampler = BatchSampler(18, 4, seed=0, rank=rank, processes=2)
        assert [len(batch) for batch in sampler] == [4, 5]


def test_dataset_is_memory_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "train_images.npy", np.zeros((10, 2, 2), dtype=np.uint8))
    np.save(tmp_path / "train_target.npy", np.arange(10))
    dataset = ArrayDataset(tmp_path, "train", ["images"])
    assert len(dataset) == 10

    # A map sees what is written to the file after it was opened; a copy would not.
    images = np.load(tmp_path / "train_images.npy", mmap_mode="r+")
    images[3] = 7
    images.flush()
    inputs, target = dataset[torch.tensor([3, 5])]
    assert inputs["images"][0].tolist() == [[7, 7], [7, 7]]
    assert target.tolist() == [3, 5]


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_yields_whole_batches(workers: int, workspace: Path, config) -> None:
    data = config().data
    (spec,) = signature.inputs(data)
    options = {"workers": workers, "shuffle": True, "on_device": False, "seed": 0}
    module = ArrayDataModule(PREPARED_DATA, data.inputs, batch_size=8, **options)
    loaded = list(module.train_dataloader())
    inputs, target = loaded[0]
    assert inputs[spec["name"]].shape == (8, *spec["shape"][1:])
    assert inputs[spec["name"]].dtype == torch.uint8
    assert target.shape == (8,)
    target = torch.cat([target for _, target in loaded])
    assert target.bincount().tolist() == [6] * len(data.target.names)
