"""Opening the project's DVC repository, as it is or at a revision: what is wrong is one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.config import ConfigError
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo

from .. import git
from ..errors import CommandError, one_line, shortened
from ..git import GitError


def open_repo(folder: Path) -> Repo:
    """Open the DVC repository of a folder.

    Raises:
        CommandError: there is none, Git does not open it, or DVC cannot read its config.
    """
    with _one_line():
        git.require(folder)  # or DVC ends in a traceback
        return Repo(str(folder))


def open_revision(revision: str | None) -> Repo:
    """Open the current folder's DVC repository at a Git revision; None is the folder as it is.

    Raises:
        CommandError: as of `open_repo`, or there is no such revision.
    """
    with _one_line():
        git.require(Path())
        return Repo.open(None, rev=revision, subrepos=True, uninitialized=True)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except GitError as error:
        raise CommandError(str(error)) from None
    except ConfigError as error:
        reason = f".dvc/config cannot be read: {shortened(error)}"
        raise CommandError(f"{reason}: git checkout .dvc/config") from None
    except NotDvcRepoError as error:
        raise CommandError(f"{one_line(error)}: inv setup") from None
    except DvcException as error:
        raise CommandError(one_line(error)) from None
