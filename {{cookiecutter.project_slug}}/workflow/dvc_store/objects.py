"""Files and folders that DVC tracks, by their hashes: locate and fetch them.

A folder's hash ends in `.dir`: it is of the list of the folder's files, each an object, too.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dvc.config import Config
from dvc.fs import localfs
from dvc.repo import Repo
from dvc_data.hashfile import load
from dvc_data.hashfile.checkout import checkout
from dvc_data.hashfile.hash import file_md5
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree

from ..errors import CommandError, one_line
from ..paths import home
from .opening import open_repo


def parts(store: Any, md5: str) -> set[str]:
    """Return the files of a folder whose list a cache or remote has; of a file, none."""
    content = load(store, HashInfo("md5", md5)) if md5.endswith(".dir") else None
    return {info.value for _, _, info in content} if isinstance(content, Tree) else set()


def absent(repo: Repo) -> list[str]:
    """Return what DVC tracks in this revision and the cache does not have, by its path."""

    def is_there(md5: str) -> bool:
        cache = repo.cache.local
        return cache.exists(md5) and all(cache.exists(part) for part in parts(cache, md5))

    return [
        os.path.relpath(out.fs_path)
        for out in repo.index.outs
        if out.use_cache and out.hash_info and not is_there(out.hash_info.value)
    ]


def made(repo: Repo) -> set[str]:
    """Return the paths that the pipeline writes; what else DVC tracks was added by people."""
    stages = [stage for stage in repo.index.stages if stage.cmd]
    return {os.path.relpath(out.fs_path) for stage in stages for out in stage.outs}


class Store:
    """The DVC cache of this project, and its remote."""

    def __init__(self) -> None:
        self.repo = open_repo(home())
        self.cache = self.repo.cache.local
        self._looked_at: dict[str, bool] = {}

    def locate(self, path: str, md5: str) -> str:
        """Return where the data is: "in the cache" or "in the remote".

        Raises:
            CommandError: it is in neither.
        """
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise CommandError(f"{path}: it is not in the project")
        missing = self._missing(md5)
        if not missing:
            return "in the cache"
        try:
            if md5 in missing and md5.endswith(".dir"):
                self._pull({md5})  # the list of a folder's files: without it none is known
                missing = self._missing(md5)
            in_remote = set(self.repo.cloud.get_remote_odb().oids_exist(list(missing)))
        except Exception as error:  # each kind of remote has its own
            reason = one_line(error)
            raise CommandError(f"{path}: not in the cache, and the remote says: {reason}") from None
        if missing - in_remote:
            raise CommandError(
                f"{path}: {md5} is neither in the cache nor in the remote:"
                " inv data.push where it was made"
            )
        return "in the remote"

    def is_shared(self, md5: str) -> bool:
        """Whether the remote has a file; one that does not answer has not."""
        try:
            return bool(self.repo.cloud.get_remote_odb().exists(md5))
        except Exception:  # each kind of remote has its own
            return False

    def push(self, hashes: Iterable[str]) -> int:
        """Send files and folders to the remote, and return how many objects it lacked.

        What is not complete in the cache is left out: it came from there.

        Raises:
            CommandError: the remote does not take them.
        """
        objects = [HashInfo("md5", md5) for md5 in hashes if not self._missing(md5)]
        try:
            result = self.repo.cloud.push(objects)
        except Exception as error:  # each kind of remote has its own
            raise CommandError(f"the remote says: {one_line(error)}") from None
        if result.failed:
            raise CommandError(f"{len(result.failed)} objects could not be sent")
        return len(result.transferred)

    def fetch(self, path: str, md5: str, folder: Path) -> None:
        """Write the data into a restored project, through the cache."""
        if missing := self._missing(md5):
            self._pull(missing)
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        content = load(self.cache, HashInfo("md5", md5))
        checkout(str(target), localfs, content, self.cache, force=True, quiet=True)

    def share_cache(self, folder: Path) -> None:
        """Let a restored project use this cache and this remote, with the same credentials.

        It writes .dvc/config.local, which Git ignores.
        """
        config = Config(str(folder / ".dvc"))
        own_config = Path(self.repo.config.files["local"])
        with config.edit("local") as local:
            for section, values in self.repo.config.load_one("local").items():
                local[section] = {**local.get(section, {}), **values}
            local["cache"]["dir"] = self.repo.cache.local_cache_dir
            for name, remote in self.repo.config["remote"].items():
                # A relative folder counts from the project, which is another one there.
                if Path(remote.get("url", "")).is_absolute():
                    local["remote"].setdefault(name, {})["url"] = str(remote["url"])
        mode = own_config.stat().st_mode if own_config.exists() else 0o600
        (folder / ".dvc/config.local").chmod(mode)

    def _missing(self, md5: str) -> set[str]:
        """Return the objects of a file or folder that the cache lacks, or has damaged."""
        if not self._is_whole(md5):
            return {md5}
        return {part for part in parts(self.cache, md5) if not self._is_whole(part)}

    def _is_whole(self, oid: str) -> bool:
        """Whether the cache has what the name of an object says; DVC takes its word for it."""
        if oid not in self._looked_at:
            path = Path(self.cache.oid_to_path(oid))
            content_md5 = file_md5(str(path), localfs) if path.exists() else ""
            self._looked_at[oid] = content_md5 == oid.removesuffix(".dir")
        return self._looked_at[oid]

    def _pull(self, hashes: set[str]) -> None:
        for oid in hashes:
            del self._looked_at[oid]
            if self.cache.exists(oid):  # damaged
                self.cache.delete(oid)
        failed = self.repo.cloud.pull([HashInfo("md5", md5) for md5 in hashes]).failed
        if failed:
            raise CommandError(f"{len(failed)} objects of the data could not be fetched")
