"""Snapshots of jobs that failed or were cancelled: their code, and checkpoints of theirs alone."""

from collections.abc import Iterator
from functools import partial

from ..cluster import records, snapshot
from ..cluster.follow import each_standings
from .item import Item, size_of


def items() -> Iterator[Item]:
    """Yield the snapshot of each job; what waits or runs keeps its own."""
    for job, found in each_standings(job for job in records.every() if job.has_snapshot):
        name, size = f"job {job.id}", size_of(job.project)
        alive = [standing for standing in found.values() if not standing.has_ended]
        if alive:
            yield Item(name, size, stays=f"it {alive[0].state}: {alive[0].text}")
        else:
            yield Item(name, size, size, remove=partial(snapshot.remove, job.project))
