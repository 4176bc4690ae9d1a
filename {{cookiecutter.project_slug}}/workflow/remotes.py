"""The DVC remote as .dvc/config names it."""

import configparser
from pathlib import Path

from .paths import ROOT

# The client that each kind of remote needs: an extra of pyproject.toml.
EXTRAS = {
    "s3": "s3",
    "gs": "gs",
    "azure": "azure",
    "ssh": "ssh",
    "webdav": "webdav",
    "webdavs": "webdav",
}


def url(config_file: Path = ROOT / ".dvc" / "config") -> str:
    """Return the address of the default remote."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(config_file, encoding="utf-8")
    remote = config["core"]["remote"]
    return config[f"'remote \"{remote}\"'"]["url"].strip('"')


def extra() -> str:
    """Return the extra of pyproject.toml that is the remote's client; "" where it needs none."""
    return EXTRAS.get(url().partition("://")[0], "")


if __name__ == "__main__":
    print(extra(), end="")
