"""Data that does not fit in memory: shards, the order of their samples, raw data in pieces."""

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise, product
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pytest
from my_ml_project.prepare import encode_inputs, encode_target, split
from workflow import published, raw_data, shards
from workflow.batch_order import BatchSizes, WindowOrder
from workflow.errors import CommandError
from workflow.prepared import read_arrays, read_split, write
from workflow.raw_data import RawData
from workflow.shards import ShardError, require_shards
from workflow.signature import SignatureError

SHARDS = [10] * 12 + [3]
SAMPLES = sum(SHARDS)
ROW = 4 * 8  # bytes of a sample below


def flat(lists: Iterable[Iterable]) -> list:
    return list(chain.from_iterable(lists))


def batches(epoch: int = 0, first: int = 0, **options) -> list[list[int]]:
    arguments = {"shards": SHARDS, "batch_size": 7, "seed": 0, "window": 4, **options}
    return [indices.tolist() for indices in WindowOrder(**arguments).batches(epoch, first)]


@pytest.mark.parametrize("window", [1, 4, 100])
@pytest.mark.parametrize("seed", [None, 0])
def test_each_sample_is_in_one_batch_of_an_epoch(window: int, seed: int | None) -> None:
    epoch = batches(window=window, seed=seed)
    assert sorted(flat(epoch)) == list(range(SAMPLES))
    assert {len(batch) for batch in epoch[:-1]} == {7}
    assert seed is not None or flat(epoch) == list(range(SAMPLES))


def test_order_is_a_function_of_seed_and_epoch() -> None:
    assert batches(epoch=3) == batches(epoch=3)
    assert batches(epoch=3) != batches(epoch=4)
    assert batches(epoch=3) != batches(epoch=3, seed=1)


def test_few_shards_are_read_at_a_time_and_each_once() -> None:
    """A window is read whole before the next; within it the samples are mixed."""
    order = np.array(flat(batches(window=4))) // 10
    windows, start = [], 0
    while start < SAMPLES:
        members = set(order[start : start + 31])  # all but at most nine of 4 shards
        end = start + sum(SHARDS[shard] for shard in members)
        assert set(order[start:end]) == members
        assert len(members) <= 4
        windows.append(members)
        start = end
    assert sorted(flat(windows)) == list(range(13))
    assert sum(first != then for first, then in pairwise(order)) > SAMPLES / 2  # mixed
    assert windows[0] != {0, 1, 2, 3}


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_any_batch_is_the_first_one_again_after_an_interruption(processes: int) -> None:
    for rank in range(processes):
        place = {"rank": rank, "processes": processes}
        whole = batches(epoch=2, **place)
        for first in range(len(whole) + 1):
            assert batches(epoch=2, first=first, **place) == whole[first:]


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_processes_have_each_sample_once_and_as_many_batches(processes: int) -> None:
    for samples, batch_size in product([*range(5, 40), 123], [1, 2, 3, 4, 64]):
        whole, rest = divmod(samples, 4)
        options = {"shards": [4] * whole + [rest] * (rest > 0), "batch_size": batch_size}
        by_process = [
            batches(**options, rank=rank, processes=processes) for rank in range(processes)
        ]
        assert sorted(flat(flat(by_process))) == list(range(samples))
        assert len({len(of_process) for of_process in by_process}) == 1
        sizes = [len(batch) for batch in flat(by_process)]
        assert max(sizes) <= batch_size + 1
        # BatchNorm cannot train on one sample.
        assert batch_size < 3 or min(sizes) > 1 or samples < 2 * processes


def test_more_processes_than_samples_are_refused() -> None:
    with pytest.raises(CommandError, match="3 samples are too few for 4 processes"):
        BatchSizes(3, 8, rank=0, processes=4)


def pieces(sizes: list[int]) -> Iterator[dict[str, np.ndarray]]:
    start = 0
    for size in sizes:
        numbers = np.arange(start, start + size)
        yield {"rows": np.repeat(numbers[:, None], 8, axis=1).astype("f4"), "one": numbers}
        start += size


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """123 samples in shards of 10, but those of two splits."""
    target = np.arange(SAMPLES)
    parts = {"train": target[:100], "validation": target[100:101], "test": target[101:]}
    folder = tmp_path / "prepared"
    write(folder, pieces([50, 1, 0, 70, 2]), target, parts, shard_mb=10 * (ROW + 8) / 2**20)
    return folder


def test_shards_are_the_arrays_in_pieces(sharded: Path) -> None:
    names = sorted(path.name for path in sharded.glob("test_*"))
    assert names == [
        *(f"test_{name}-{number:05}.npy" for name in ("one", "rows") for number in range(3)),
        "test_target.npy",
    ]
    assert [len(np.load(sharded / name)) for name in names] == [10, 10, 2, 10, 10, 2, 22]
    inputs, target = read_split(sharded, "train", ["rows", "one"])
    rows = inputs["rows"]
    assert (rows.shape, str(rows.dtype), len(rows)) == ((100, 8), "float32", 100)
    assert target.tolist() == rows[:][:, 0].tolist() == np.asarray(inputs["one"]).tolist()
    indices = np.random.default_rng(0).integers(-100, 100, 30)
    assert rows[indices][:, 3].tolist() == (indices % 100).tolist()
    assert rows[7:33][:, 0].tolist() == list(range(7, 33))
    assert rows[::30][:, 0].tolist() == [0, 30, 60, 90]
    assert rows[target > 97][:, 0].tolist() == [98, 99]
    assert rows[42].tolist() == [42] * 8
    assert rows[200:].shape == (0, 8)
    with pytest.raises(IndexError):
        rows[[100]]
    arrays, _ = read_arrays(sharded, "test", ["one"])
    assert arrays["one"].tolist() == list(range(101, 123))


def test_no_more_than_some_shards_are_mapped(sharded: Path, monkeypatch) -> None:
    monkeypatch.setattr(shards, "OPEN", 3)
    rows = read_split(sharded, "train", ["rows"])[0]["rows"]
    for _ in range(2):
        assert rows[:][:, 0].tolist() == list(range(100))
    assert len(rows._maps) == 3


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (Path.unlink, "is missing: inv train"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "has 447 bytes, not 448"),
    ],
)
def test_a_shard_that_is_missing_or_truncated_is_named_before_a_training(
    sharded: Path, spoil, message: str
) -> None:
    shard_mb = require_shards(sharded, 10 * (ROW + 8) / 2**20).shard_mb
    spoil(sharded / "train_rows-00003.npy")
    with pytest.raises(ShardError, match=f"train_rows-00003.npy: {message}"):
        require_shards(sharded, shard_mb)


def test_a_damaged_shard_is_named_when_it_is_read(sharded: Path) -> None:
    path = sharded / "train_rows-00003.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    rows = read_split(sharded, "train", ["rows"])[0]["rows"]
    assert rows[:30].shape == (30, 8)
    with pytest.raises(ShardError, match=r"train_rows-00003\.npy: is damaged"):
        rows[[35]]
    (sharded / "train_target.npy").write_bytes(b"")
    with pytest.raises(ShardError, match=r"train_target\.npy: is damaged"):
        read_split(sharded, "train")


def test_shards_of_another_size_are_not_trained_on(sharded: Path) -> None:
    with pytest.raises(ShardError, match=r"has shards of .* MB, loader.shard_mb is 64: stage prep"):
        require_shards(sharded, 64)
    (sharded / "index.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ShardError, match=r"index\.json: is damaged"):
        require_shards(sharded, 64)
    (sharded / "index.json").unlink()
    with pytest.raises(ShardError, match=r"has no shards, loader\.shard_mb is 64"):
        require_shards(sharded, 64)


DATA = {
    "inputs": {
        "photo": {"kind": "image", "rows": 2, "columns": 3, "channels": None, "max_value": 200},
        "table": {"kind": "features", "columns": [{"name": "age"}, {"name": "size"}]},
        "comment": {"kind": "text", "length": 6},
    },
    "target": {"kind": "classes", "names": ["cat", "dog"]},
}


def raw_arrays(number: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(number)
    return {
        "photo": generator.integers(0, 200, (number, 2, 3)).astype(float),
        "age": np.arange(number) / 3,
        "size": generator.normal(size=(2, number)).T[:, 0],
        "comment": np.array([f"größe {n}" for n in range(number)]),
        "target": np.arange(number) % 2,
    }


def read_whole(raw: RawData) -> dict[str, np.ndarray]:
    target = encode_target(raw, DATA["target"])
    pieces = list(encode_inputs(raw, DATA))
    joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in DATA["inputs"]}
    return {**joined, "target": target}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_raw_data_in_pieces_and_in_parts_is_the_same(tmp_path: Path, monkeypatch, save) -> None:
    raw = raw_arrays(50)
    raw["photo"] = np.asfortranarray(raw["photo"])
    save(tmp_path / "data.npz", **raw)
    (tmp_path / "parts").mkdir()
    for start in range(0, 50, 20):
        part = {name: array[start : start + 20] for name, array in raw.items()}
        save(tmp_path / "parts" / f"part-{start:02}.npz", **part)
    whole = read_whole(raw_data.locate(tmp_path, "data"))
    monkeypatch.setattr(raw_data, "PIECE", 1000)
    assert len(list(raw_data.locate(tmp_path, "data").pieces(raw))) > 5
    for name in ("data", "parts"):
        read = read_whole(raw_data.locate(tmp_path, name))
        for key, array in whole.items():
            assert np.array_equal(read[key], array)
            assert read[key].dtype == array.dtype


def test_shards_are_written_with_a_piece_in_memory(tmp_path: Path) -> None:
    """24 MB of raw data become shards, with less than 5 MB of Python's memory at a time."""
    import tracemalloc

    number = 60_000
    photo = np.zeros((number, 20, 20), np.uint8)
    np.savez(tmp_path / "data.npz", photo=photo, target=np.arange(number) % 2)
    del photo
    data = {**DATA, "inputs": {"photo": {**DATA["inputs"]["photo"], "rows": 20, "columns": 20}}}
    tracemalloc.start()
    raw = raw_data.locate(tmp_path, "data")
    target = encode_target(raw, data["target"])
    parts = split(target, 0.2, 0.2, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_data, "PIECE", 2**20)
        write(tmp_path / "prepared", encode_inputs(raw, data), target, parts, shard_mb=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * 2**20 + 30 * number  # beside the target, and the indices of the splits
    assert len(list((tmp_path / "prepared").glob("train_photo-*.npy"))) == 14


def test_a_wrong_sample_of_a_part_is_named_by_its_place_in_the_file(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(raw_data, "PIECE", 500)
    for number in (0, 1):
        raw = raw_arrays(30)
        raw["photo"][25] += 200 * number
        np.savez(tmp_path / f"{number}.npz", **raw)
    raw = RawData([tmp_path / "0.npz", tmp_path / "1.npz"])
    with pytest.raises(SignatureError, match="photo of sample 25 has a value outside 0 to 200"):
        list(encode_inputs(raw, DATA))
    assert raw.reading == tmp_path / "1.npz"


def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "0.npz", **raw_arrays(3))
    np.savez(tmp_path / "1.npz", age=np.zeros(3))
    raw = RawData([tmp_path / "0.npz", tmp_path / "1.npz"])
    with pytest.raises(SignatureError, match=r"array comment is either here or in 0\.npz"):
        raw.sizes  # noqa: B018
    np.savez(tmp_path / "1.npz", **{**raw_arrays(3), "age": np.zeros(2)})
    with pytest.raises(SignatureError, match="the arrays differ in their number of samples"):
        RawData([tmp_path / "0.npz", tmp_path / "1.npz"]).sizes  # noqa: B018
    with pytest.raises(CommandError, match=r"x\.npz: is missing: run stage fetch"):
        raw_data.locate(tmp_path, "x")
    (tmp_path / "0").mkdir()
    np.savez(tmp_path / "0" / "a.npz", age=np.zeros(2))
    with pytest.raises(CommandError, match="remove the one that is not the data"):
        raw_data.locate(tmp_path, "0")


def test_a_raw_file_that_is_damaged_is_refused(tmp_path: Path) -> None:
    raw = raw_arrays(30)
    np.savez(tmp_path / "data.npz", **raw)
    content = (tmp_path / "data.npz").read_bytes()
    targets = raw["target"].tobytes()
    damaged = content.replace(targets, targets.replace(b"\x01", b"\x00", 1))
    (tmp_path / "data.npz").write_bytes(damaged)
    with pytest.raises(BadZipFile, match="Bad CRC-32 for file"):
        encode_target(RawData([tmp_path / "data.npz"]), DATA["target"])


def test_published_shards_are_fetched_as_they_are_read(
    sharded: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(shards, "OPEN", 4)
    address = (tmp_path / "store").as_uri()
    (tmp_path / "store").mkdir()
    index = published.send(sharded, address)
    here = tmp_path / "here"
    published.stream(here, address)
    files = {f"{split}_target.npy" for split in ("train", "validation", "test")}
    assert {path.name for path in here.iterdir()} == {"index.json", *files}
    require_shards(here, index.shard_mb)  # nothing that has to be here is missing

    rows = read_split(here, "train", ["rows"])[0]["rows"]
    assert len(list((here / "fetched").iterdir())) == 1
    for _ in range(2):
        assert rows[:][:, 0].tolist() == list(range(100))
        assert len(list((here / "fetched").iterdir())) == 4
    order = WindowOrder(index.sizes("train"), 7, 0, window=3)
    assert [rows[batch][:, 0].tolist() for batch in order.batches(1)] == [
        batch.tolist() for batch in order.batches(1)
    ]

    name = "test_rows-00001.npy"
    (tmp_path / "store" / name).write_bytes(b"other")
    with pytest.raises(ShardError, match=f"{name}: is damaged"):
        np.asarray(read_split(here, "test", ["rows"])[0]["rows"])
    (tmp_path / "store" / name).unlink()
    (here / "fetched" / name).unlink()
    with pytest.raises(CommandError, match=f"{name}: "):
        np.asarray(read_split(here, "test", ["rows"])[0]["rows"])
    with pytest.raises(CommandError, match=r"/nowhere: .*filesystem root"):
        published.stream(here, f"{address}/nowhere")
    assert (here / "index.json").exists()
