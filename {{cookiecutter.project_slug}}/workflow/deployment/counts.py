"""How many requests each release has answered, across all configs of the proxy.

The proxy counts from zero with each config that it takes. So what it has counted is kept in
.deploy/requests.json before it takes another one, and added up. Those that it answers while one
config takes over from another are not counted.
"""

import contextlib
from collections.abc import Iterable

import msgspec
from docker.models.containers import Container

from ..paths import DEPLOYMENT
from . import proxy, state
from .state import Release

FILE = DEPLOYMENT / "requests.json"


class Count(msgspec.Struct, frozen=True):
    """Requests to one release of a model."""

    requests: int = 0
    failed: int = 0  # answered with a status of 500 or above

    def __add__(self, other: "Count") -> "Count":
        return Count(self.requests + other.requests, self.failed + other.failed)


Counts = dict[str, Count]  # by the model's name and the version of its release


class Saved(msgspec.Struct, frozen=True):
    """What was counted so far."""

    worker: str = ""  # of the proxy, which has one of its own for each config
    counted: Counts = {}  # by this worker, when it was last asked
    earlier: Counts = {}  # by all those before it


def record(running: Container) -> Counts:
    """Ask the proxy, keep what it has counted, and return it together with what was before."""
    before = load()
    worker, counted = proxy.worker(running), summed(proxy.rows(running))
    earlier = before.earlier
    if worker != before.worker:
        earlier = added(earlier, before.counted)
    saved = Saved(worker, counted, earlier)
    state.write(FILE, msgspec.json.format(msgspec.json.encode(saved)).decode() + "\n")
    return added(earlier, counted)


def keep(running: Container) -> None:
    """Keep what the proxy has counted; where it does not answer, that is lost."""
    with contextlib.suppress(OSError):
        record(running)


def total() -> Counts:
    """Return what was counted until the proxy was last asked."""
    saved = load()
    return added(saved.earlier, saved.counted)


def load() -> Saved:
    """Return what the file has."""
    try:
        return msgspec.json.decode(FILE.read_bytes(), type=Saved)
    except FileNotFoundError:
        return Saved()


def key(name: str, release: Release) -> str:
    """Return by what the requests of a model's release are counted."""
    return f"{name} {release.version}"


def summed(rows: Iterable[dict[str, str]]) -> Counts:
    """Return the requests of each release, from the proxy's statistics of its servers."""
    counted: Counts = {}
    for row in rows:
        # A release that is asked by its version has a backend of its own, model-NAME:VERSION.
        name = row["pxname"].removeprefix("model-").partition(":")[0]
        version = row["svname"].partition("_")[0]
        here = {f"{name} {version}": Count(int(row["stot"]), int(row["hrsp_5xx"]))}
        counted = added(counted, here)
    return counted


def added(one: Counts, other: Counts) -> Counts:
    """Return the sums of two counts."""
    return {name: one.get(name, Count()) + other.get(name, Count()) for name in {**one, **other}}
