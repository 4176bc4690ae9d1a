"""Shards in an object store, for machines that have no room for them.

python -m workflow.published send s3://BUCKET/PATH     copy the prepared shards there
python -m workflow.published stream s3://BUCKET/PATH   read them from there, on another machine
"""

import argparse
from dataclasses import replace
from pathlib import Path

from . import object_store
from .errors import CommandError
from .files import replacing_folder
from .paths import PREPARED_DATA
from .shards import INDEX, Index, read_index, require_shards


def send(folder: Path, address: str) -> Index:
    """Copy the shards of a folder into an object store, the index last.

    Raises:
        CommandError: there are no shards, one is missing or truncated, or it cannot be written.
    """
    index = read_index(folder)
    if index is None:
        raise CommandError(f"{folder.as_posix()}: has no shards: inv train -- loader=stream")
    require_shards(folder, index.shard_mb)
    for name in index.files:
        object_store.send(folder / name, address)
    object_store.send(folder / INDEX, address)
    return index


def stream(folder: Path, address: str) -> Index:
    """Make a folder whose inputs are read from an object store: index and targets alone are here.

    Raises:
        CommandError: there are no shards at the address, or they cannot be read.
    """
    with replacing_folder(folder) as unfinished:
        object_store.fetch(INDEX, address, unfinished / INDEX)
        index = read_index(unfinished)
        assert index is not None
        for split in index.samples:
            name = f"{split}_target.npy"
            object_store.fetch(name, address, unfinished / name)
        index = replace(index, address=address)
        index.write(unfinished)
    return index


def main() -> None:
    parser = argparse.ArgumentParser(description="Shards in an object store.")
    parser.add_argument("action", choices=["send", "stream"])
    parser.add_argument("address", type=lambda text: text.rstrip("/"))
    arguments = parser.parse_args()
    try:
        if arguments.action == "send":
            index = send(PREPARED_DATA, arguments.address)
            print(f"{len(index.files)} files of {sum(index.samples.values())} samples are there")
            print(f"next: inv data.stream {arguments.address}, on the machine that trains")
        else:
            index = stream(PREPARED_DATA, arguments.address)
            print(f"{PREPARED_DATA.as_posix()} is read from there: {index.samples} samples")
            how = f"loader=stream loader.shard_mb={index.shard_mb:g} loader.workers=2"
            print(f"next: python -m PACKAGE.train {how}")
    except CommandError as error:
        raise SystemExit(f"shards: {error}") from None


if __name__ == "__main__":
    main()
