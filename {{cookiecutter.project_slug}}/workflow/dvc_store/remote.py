"""The DVC remote: its address in .dvc/config, its client, and whether it can be used."""

import configparser
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import shortened
from ..paths import ROOT

# The client that each kind of remote needs: an extra of pyproject.toml.
EXTRAS = {
    "s3": "s3",
    "gs": "gs",
    "azure": "azure",
    "ssh": "ssh",
    "webdav": "webdav",
    "webdavs": "webdav",
}

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


def url(folder: Path = ROOT) -> str:
    """Return the address of the default remote of the project in a folder; "" if there is none."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(folder / ".dvc" / "config", encoding="utf-8")
    remote = config.get("core", "remote", fallback="")
    return config.get(f"'remote \"{remote}\"'", "url", fallback="").strip('"')


def extra(folder: Path = ROOT) -> str:
    """Return the extra of pyproject.toml that is the remote's client; "" where it needs none."""
    return EXTRAS.get(url(folder).partition("://")[0], "")


def client(url: str) -> str:
    """Return the command that installs the client of a remote."""
    scheme = url.partition("://")[0]
    extra = EXTRAS.get(scheme)
    return f"uv sync --inexact --extra {extra}" if extra else f"uv add dvc-{scheme}"


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
        return Problem(shortened(error), client(repo.config["remote"][name]["url"]))
    except Exception as error:  # each kind of remote raises errors of its own client
        return _refusal(error, name, repo.config["remote"].get(name, {}).get("url", ""))
    return None


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
    protocol = EXTRAS.get(url.partition("://")[0], "")
    if protocol in CREDENTIALS and any(word in text for word in REFUSED):
        fix = CREDENTIALS[protocol].format(name=name)
        return Problem(f"the remote {name} refuses the credentials: {shortened(error)}", fix)
    fix = f"dvc remote modify {name} url ADDRESS"
    return Problem(f"the remote {name}, {url}, does not answer: {shortened(error)}", fix)
