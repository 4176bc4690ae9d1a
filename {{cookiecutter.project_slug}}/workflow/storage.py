"""What `inv data.…` does with the DVC remote: python -m workflow.storage pull."""

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dvc.exceptions import CheckoutError
from dvc.repo import Repo

from . import conflicts
from .dvc_store import opening
from .dvc_store.command import hush
from .dvc_store.objects import Store, absent, made
from .dvc_store.remote import Problem, problem
from .errors import CommandError, enumerated, shortened


def pull(needed: bool = False) -> None:
    """Bring the files of this revision here.

    Args:
        needed: it is enough that the pipeline can run, which makes the rest itself.

    Raises:
        CommandError: some are neither here nor in the remote, or it cannot be used.
    """
    repo = open_repo()
    lacking = absent(repo)
    if lacking and (reason := problem(repo, needed=True)):
        if needed:
            _require_added(repo, reason)
            return
        raise CommandError(f"{some(lacking)} not here, and {reason.detail}: {reason.fix}")
    remote = repo.config["core"].get("remote")
    try:
        # Before the first `inv train`, what the pipeline makes is unknown, not lost.
        stats = repo.pull(allow_missing=needed or not Path("dvc.lock").exists())["stats"]
    except CheckoutError as error:
        lost = [os.path.relpath(target) for target in error.target_infos]
        raise CommandError(
            f"{some(lost)} neither here nor in the remote {remote}: inv data.push where they"
            " were made, or inv train for what the pipeline makes"
        ) from None
    except Exception as error:  # each kind of remote raises errors of its own client
        if needed:
            _require_added(repo, Problem(shortened(error), "inv doctor"))
            return
        raise CommandError(shortened(error)) from None
    if needed:
        _require_added(repo, Problem(f"not in the remote {remote}", "inv data.push where they are"))
    changes = [f"{stats[key]} {key}" for key in ("fetched", "added", "modified") if stats.get(key)]
    print(f"from the remote {remote}: {', '.join(changes) or 'nothing to fetch, all is here'}")
    print("next: inv train")


def _require_added(repo: Repo, reason: Problem) -> None:
    """Raise CommandError where something is not here that the pipeline does not make itself."""
    lacking, pipeline = absent(repo), made(repo)
    if added := [path for path in lacking if path not in pipeline]:
        raise CommandError(
            f"{some(added)} not here, and {reason.detail}, so the pipeline cannot run: {reason.fix}"
        )
    if lacking:
        print(f"{reason.detail}: {some(lacking)} not here, and the pipeline makes them")
        print("next: inv train")


def push(everything: bool = False) -> None:
    """Send the files of this revision, and of registered versions, to the remote.

    Args:
        everything: all that the cache has; `dvc push --all-commits` takes a remote that is a
            relative folder for another one.

    Raises:
        CommandError: the remote cannot be used.
    """
    from .registry import promotion

    repo = open_repo()
    if reason := problem(repo):
        raise CommandError(f"{reason.detail}: {reason.fix}")
    try:
        sent, registered = repo.push(), promotion.push()
        others = Store().push(repo.cache.local.all()) if everything else 0
    except CommandError:
        raise
    except Exception as error:  # each kind of remote raises errors of its own client
        raise CommandError(shortened(error)) from None
    remote = repo.config["core"]["remote"]
    print(f"to the remote {remote}: {f'{sent} sent' if sent else 'nothing to send, it has all'}")
    if registered:
        print(f"{registered} files of registered versions sent")
    if everything:
        print(f"{others} files of other commits and experiments sent")
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
        raise CommandError(shortened(error)) from None
    for stage, reasons in changed.items():
        print(f"  {stage}: {'; '.join(_reasons(reasons))}")
    print("here: " + ("the above changed" if changed else "nothing changed"))
    follow = ["inv train"] if changed else []
    remote = repo.config["core"].get("remote")
    if reason := problem(repo):
        print(f"remote: {reason.detail}: {reason.fix}")
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


def open_repo() -> Repo:
    """Open the DVC repository of the current folder.

    Raises:
        CommandError: Git does not open it, or a file is in conflict after a merge, or
            cannot be read.
    """
    conflicts.require_settled()
    repo = opening.open_repo(Path())
    try:
        _ = repo.index
    except Exception as error:
        raise CommandError(
            f"{shortened(error)}: git checkout dvc.yaml dvc.lock, inv train"
        ) from None
    return repo


def some(paths: Iterable[str], limit: int = 3) -> str:
    """Return the first paths, how many more there are, and the verb."""
    names = list(paths)
    return f"{enumerated(names, limit)} {'is' if len(names) == 1 else 'are'}"


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
    parser.add_argument("--needed", action="store_true", help="pull what the pipeline needs")
    parser.add_argument("--everything", action="store_true", help="push all that the cache has")
    arguments = parser.parse_args()
    action = arguments.action
    hush()
    try:
        if arguments.needed:
            pull(needed=True)
        elif arguments.everything:
            push(everything=True)
        else:
            actions[action]()
    except CommandError as error:
        raise SystemExit(f"{action}: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted") from None


if __name__ == "__main__":
    main()
