"""Where data is, by its DVC hashes: in the cache here, in which remote."""

import re
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from queue import Empty, Queue

from dvc.repo import Repo

from ...dvc_store.objects import parts
from ...dvc_store.opening import open_repo
from ...errors import CommandError, one_line
from ...paths import ROOT
from ...serving.store import shown

PATIENCE = 30  # seconds for a remote: the clients of some try for minutes

Contents = dict[str, set[str]]  # the objects of a file or folder, by its hash


def places(hashes: Iterable[str], root: Path = ROOT) -> dict[str, list[str]]:
    """Return for each hash a line on the cache and one on each remote.

    A remote is asked for all objects together; one that cannot be asked has a line that says why.
    """
    unique = set(hashes)
    try:
        repo = open_repo(root)
    except CommandError as error:
        return {md5: [f"nobody can say where: {_reason(error)}"] for md5 in unique}
    contents: Contents = {}
    lines: dict[str, list[str]] = {md5: [] for md5 in unique}
    names = [None, *repo.config["remote"]]
    for name in names:
        place = f"the remote {name}" if name else "the cache here"
        try:
            present = _within(PATIENCE, partial(_held, repo, name, unique, contents))
        except Exception as error:  # each kind of remote has its own
            for md5 in unique:
                lines[md5].append(f"{place} cannot be asked: {_reason(error)}")
            continue
        for md5 in unique:
            lines[md5].append(_line(place, contents.get(md5, {md5}), present))
    if len(names) == 1:
        for md5 in unique:
            lines[md5].append("there is no remote")
    return lines


def _held(repo: Repo, name: str | None, hashes: set[str], contents: Contents) -> set[str]:
    """Return the objects that a remote, or the cache, has of these files and folders.

    What each of them consists of is added to `contents`.
    """
    store = repo.cloud.get_remote_odb(name) if name else repo.cache.local
    present = set(store.oids_exist(list(hashes)))
    for md5 in present - contents.keys():
        contents[md5] = {md5, *parts(store, md5)}
    more = set().union(*contents.values()) - hashes
    return present | set(store.oids_exist(list(more))) if more else present


def _line(place: str, objects: set[str], present: set[str]) -> str:
    count = len(objects & present)
    if count == len(objects):
        return f"in {place}"
    return f"{count} of {len(objects)} objects in {place}" if count else f"not in {place}"


def _within(seconds: float, call: Callable[[], set[str]]) -> set[str]:
    """Return what a call returns.

    Raises:
        TimeoutError: it takes longer.
    """
    answers: Queue[set[str] | Exception] = Queue()

    def work() -> None:
        try:
            answers.put(call())
        except Exception as error:
            answers.put(error)

    # A daemon: the process does not wait for it at its end.
    threading.Thread(target=work, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _reason(error: Exception) -> str:
    """Return an error in one line, without what a URL has of credentials."""
    text = one_line(error)
    return re.sub(r"\w+://\S+", lambda match: shown(match[0]), text)
