"""The DVC remote: whether it can be used, and what `inv data.…` does with it.

python -m <package>.storage pull
"""

import argparse
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import conflicts, git, remotes
from .errors import CommandError, one_line
from .git import GitError
from .quiet_dvc import hush

# What to type where the credentials are missing or wrong, by the protocol of the remote.
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in .env",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS in .env",
    "azure": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY in .env",
    "ssh": "dvc remote modify --local {name} keyfile FILE",
    "webdav": "dvc remote modify --local {name} password PASSWORD (and user NAME)",
}
REFUSED = ("401", "403", "forbidden", "unauthorized", "credential", "authentication", "denied")


@dataclass(frozen=True)
class Problem:
    """Why the remote cannot be used, and what to type."""

    detail: str
    fix: str


def problem(repo: Any, needed: bool = False) -> Problem | None:
    """Return what is wrong with the default remote of a DVC repository, or None.

    Args:
        needed: whether something has to come from it: a folder must be there then.
    """
    from dvc.config import NoRemoteError

    name = repo.config["core"].get("remote", "")
    try:
        store = repo.cloud.get_remote_odb()
        if store.fs.protocol == "local":
            return _folder(Path(store.path), name, needed)
        store.fs.info(store.path)
    except FileNotFoundError as error:
        # Nothing was pushed so far; but so say some clients that reach no server, or no bucket.
        cause = error.__cause__
        if isinstance(cause, OSError) or "bucket does not exist" in str(error):
            return _refusal(cause or error, name, repo.config["remote"][name]["url"])
    except NoRemoteError:
        return Problem("no remote is set", "dvc remote add --default storage ADDRESS")
    except ImportError as error:
        return Problem(line(error), client(repo.config["remote"][name]["url"]))
    except Exception as error:  # each kind of remote raises errors of its own client
        return _refusal(error, name, repo.config["remote"].get(name, {}).get("url", ""))
    return None


def client(url: str) -> str:
    """Return the command that installs the client of a remote."""
    scheme = url.partition("://")[0]
    extra = remotes.EXTRAS.get(scheme)
    return f"uv sync --inexact --extra {extra}" if extra else f"uv add dvc-{scheme}"


def absent(repo: Any) -> list[str]:
    """Return what this revision has in DVC's care and the cache does not have, by its path."""
    return [
        os.path.relpath(out.fs_path)
        for out in repo.index.outs
        if out.use_cache and out.hash_info and not _is_there(repo.cache.local, out.hash_info.value)
    ]


def pull() -> None:
    """Bring the files of this revision here.

    Raises:
        CommandError: some are neither here nor in the remote, or it cannot be used.
    """
    from dvc.exceptions import CheckoutError

    repo = open_repo()
    lacking = absent(repo)
    if lacking and (found := problem(repo, needed=True)):
        raise CommandError(f"{some(lacking)} not here, and {found.detail}: {found.fix}")
    remote = repo.config["core"].get("remote")
    try:
        # Before the first `inv train`, what the pipeline makes is unknown, not lost.
        stats = repo.pull(allow_missing=not Path("dvc.lock").exists())["stats"]
    except CheckoutError as error:
        lost = [os.path.relpath(target) for target in error.target_infos]
        raise CommandError(
            f"{some(lost)} neither here nor in the remote {remote}: inv data.push where they"
            " were made, or inv train for what the pipeline makes"
        ) from None
    except Exception as error:  # each kind of remote raises errors of its own client
        raise CommandError(line(error)) from None
    changes = [f"{stats[key]} {key}" for key in ("fetched", "added", "modified") if stats.get(key)]
    print(f"from the remote {remote}: {', '.join(changes) or 'nothing to fetch, all is here'}")
    print("next: inv train")


def push() -> None:
    """Send the files of this revision, and of registered versions, to the remote.

    Raises:
        CommandError: the remote cannot be used.
    """
    from .registry import promotion

    repo = open_repo()
    if found := problem(repo):
        raise CommandError(f"{found.detail}: {found.fix}")
    try:
        sent, registered = repo.push(), promotion.push()
    except CommandError:
        raise
    except Exception as error:  # each kind of remote raises errors of its own client
        raise CommandError(line(error)) from None
    remote = repo.config["core"]["remote"]
    print(f"to the remote {remote}: {f'{sent} sent' if sent else 'nothing to send, it has all'}")
    if registered:
        print(f"{registered} files of registered versions sent")
    print("next: git push, so that others find them: inv data.pull")


def status() -> None:
    """Say what changed here, and what the remote lacks.

    Raises:
        CommandError: the files of DVC cannot be read.
    """
    repo = open_repo()
    try:
        changed = repo.status()
    except Exception as error:
        raise CommandError(line(error)) from None
    for stage, reasons in changed.items():
        print(f"  {stage}: {'; '.join(_reasons(reasons))}")
    print("here: " + ("the above changed" if changed else "nothing changed"))
    follow = ["inv train"] if changed else []
    remote = repo.config["core"].get("remote")
    if found := problem(repo):
        print(f"remote: {found.detail}: {found.fix}")
    else:
        cloud = repo.status(cloud=True)
        new = [path for path, state in cloud.items() if state == "new"]
        lost = [path for path, state in cloud.items() if state == "missing"]
        gone = [path for path, state in cloud.items() if state == "deleted"]
        if new:
            print(f"remote {remote}: {some(new)} not there")
            follow.append("inv data.push")
        if gone:
            print(f"remote {remote}: {some(gone)} there and not here")
            follow.append("inv data.pull")
        if lost:
            print(f"{some(lost)} neither here nor in the remote {remote}")
        if not cloud:
            print(f"remote {remote}: in sync")
    print(f"next: {', '.join(follow or ['inv train'])}")


def open_repo() -> Any:
    """Open the DVC repository of the current folder.

    Raises:
        CommandError: Git does not open it, or a file that DVC reads has conflict markers, or
            cannot be read.
    """
    from dvc.config import ConfigError
    from dvc.repo import Repo

    try:
        git.require(Path())
    except GitError as error:
        raise CommandError(str(error)) from None
    for conflict in conflicts.find():
        raise CommandError(f"{conflict.path} has conflict markers: {conflict.fix}")
    try:
        repo = Repo()
        _ = repo.index
    except ConfigError as error:
        reason = f".dvc/config cannot be read: {line(error)}"
        raise CommandError(f"{reason}: git checkout .dvc/config") from None
    except Exception as error:
        raise CommandError(f"{line(error)}: git checkout dvc.yaml dvc.lock, inv train") from None
    return repo


def line(error: BaseException) -> str:
    """Return an error's text in one line."""
    return one_line(error)[:200]


def some(paths: Iterable[str], limit: int = 3) -> str:
    """Return the first paths, how many more there are, and the verb."""
    names = list(paths)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{', '.join(names[:limit])}{more} {'is' if len(names) == 1 else 'are'}"


def _is_there(cache: Any, md5: str) -> bool:
    from dvc_data.hashfile import load
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    if not cache.exists(md5):
        return False
    if not md5.endswith(".dir"):
        return True
    content = load(cache, HashInfo("md5", md5))
    wanted = [info.value for _, _, info in content] if isinstance(content, Tree) else []
    return all(cache.exists(oid) for oid in wanted)


def _folder(objects: Path, name: str, needed: bool) -> Problem | None:
    """Check that a folder is there, or can be made where its parent is there, and written to."""
    folder = objects.parent.parent  # of files/md5
    fix = f"dvc remote modify --local {name} url FOLDER"
    remote = f"the remote {name}, {folder},"
    if not folder.parent.exists():
        return Problem(f"{remote} is in a folder that does not exist (is it mounted?)", fix)
    if needed and not folder.exists():
        return Problem(f"{remote} does not exist (is it mounted?)", fix)
    existing = next(parent for parent in (objects, *objects.parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        return Problem(f"no permission to write to {existing}", fix)
    return None


def _refusal(error: BaseException, name: str, url: str) -> Problem:
    text = f"{type(error).__name__}: {error}".lower()
    protocol = remotes.EXTRAS.get(url.partition("://")[0], "")
    if protocol in CREDENTIALS and any(word in text for word in REFUSED):
        fix = CREDENTIALS[protocol].format(name=name)
        return Problem(f"the remote {name} refuses the credentials: {line(error)}", fix)
    fix = f"dvc remote modify {name} url ADDRESS"
    return Problem(f"the remote {name}, {url}, does not answer: {line(error)}", fix)


def _reasons(reasons: list[Any]) -> list[str]:
    """Return why a stage is out of step: `changed deps: model.py modified`."""
    texts = []
    for reason in reasons:
        if isinstance(reason, str):
            texts.append(reason)
            continue
        for kind, paths in reason.items():
            texts.append(f"{kind}: {_flat(paths)}")
    return texts


def _flat(paths: Any) -> str:
    if not isinstance(paths, dict):
        return str(paths)
    return ", ".join(f"{path} {_flat(state)}" for path, state in paths.items())


def main() -> None:
    parser = argparse.ArgumentParser(prog="storage", description=__doc__)
    actions = {"pull": pull, "push": push, "status": status}
    parser.add_argument("action", choices=actions)
    action = parser.parse_args().action
    hush()
    try:
        actions[action]()
    except CommandError as error:
        raise SystemExit(f"{action}: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted") from None


if __name__ == "__main__":
    main()
