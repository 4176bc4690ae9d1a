"""DVC's cache: what this revision does not need and the remote has can go."""

from pathlib import Path

from dvc.repo import Repo, lock_repo

from ..dvc_store.objects import parts
from ..dvc_store.opening import open_repo
from ..dvc_store.remote import problem
from ..errors import shortened
from ..paths import LOCK, home
from ..tracking import provenance
from .item import Item, delete, size_of

SENDS = "inv data.push --everything"


def item(copies: list[Path]) -> Item:
    """Return the cache.

    Args:
        copies: projects that were restored: they use the same cache.

    Raises:
        CommandError: DVC's repository cannot be opened.
    """
    repo = open_repo(home())
    cache = repo.cache.local
    folder = Path(repo.cache.local_cache_dir)
    size = size_of(folder)
    if not folder.resolve().is_relative_to(home().resolve()):
        return Item("DVC cache", size, stays=f"{folder} is not this project's alone: dvc gc")
    spare = set(cache.all()) - _used(repo, copies)
    if issue := problem(repo):  # some would not say so, and have nothing
        return Item("DVC cache", size, stays=f"{issue.detail}: {issue.fix}")
    try:
        in_remote = set(repo.cloud.get_remote_odb().oids_exist(list(spare))) if spare else set()
    except Exception as error:  # each kind of remote has its own
        return Item("DVC cache", size, stays=f"the remote says: {shortened(error)}")
    paths = [Path(cache.oid_to_path(oid)) for oid in sorted(in_remote)]

    def remove() -> None:
        with lock_repo(repo):  # no pipeline is at work
            for path in paths:
                delete(path)

    stays = "what this revision needs"
    if lacking := spare - in_remote:
        stays += f"; {len(lacking)} objects of others that the remote lacks: {SENDS}"
    return Item("DVC cache", size, sum(map(size_of, paths)), stays, remove)


def _used(repo: Repo, copies: list[Path]) -> set[str]:
    """Return the objects of this revision and of restored copies."""
    outs = [out for out in repo.index.outs if out.use_cache and out.hash_info]
    names = {out.hash_info.value for out in outs}
    for copy in copies:
        if (lock := copy / LOCK).exists():
            names |= set(provenance.outs_in({LOCK.name: lock.read_text("utf-8")}).values())
    return names | {part for name in names for part in _parts(repo, name)}


def _parts(repo: Repo, name: str) -> set[str]:
    return parts(repo.cache.local, name) if repo.cache.local.exists(name) else set()
