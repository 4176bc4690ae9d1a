"""What a result was made from: code, data, config, environment."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from .. import formats, git
from ..paths import BUILT, MODEL, home

FORMAT = 2  # of a run's record; format 1 is the same, and has no number
NAMED = 100  # files that a run's provenance names one by one
# In C, where PyYAML has it: each stage of a training reads dvc.lock, some twice.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def collect(
    config: dict[str, Any],
    hardware: Mapping[str, Any],
    patch: str | None = None,
    left_out: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the provenance of a run of this config, as plain types.

    Args:
        hardware: what the framework says that it computes on, and how: accelerator, precision,
            threads; what it does not say is left out.
        patch: SHA-256 of the code.patch that is kept with the run, if one is.
        left_out: changed files that are not in it, and why.

    Keys: format, version (of the workflow), git (commit, dirty, patch, left_out), data (path to DVC
    hash), config (SHA-256), lock (SHA-256 of uv.lock), image, seed, python, platform, and those of
    `hardware`.
    """
    code = {**git_state(), "patch": patch, "left_out": some(left_out or {}, NAMED)}
    return {
        **formats.stamp(FORMAT),
        "git": code,
        "data": data_hashes(),
        "config": config_sha256(config),
        "lock": file_sha256(Path("uv.lock")),
        "image": os.environ.get("WANDB_DOCKER"),
        "seed": config["seed"],
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        **hardware,
    }


def git_state() -> dict[str, Any]:
    """Return the commit and whether tracked files differ from it; None where there is no Git.

    What the pipeline itself writes does not count.

    Raises:
        GitError: there is a repository, and Git cannot be asked.
    """
    commit = git.head(Path())
    built = (f":!{path.as_posix()}" for path in BUILT)
    changes = git.text(Path(), "status", "--porcelain", "--untracked-files=no", "--", ".", *built)
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def origin() -> str | None:
    """Return the address of Git's remote `origin`, without the credentials that may be in it."""
    url = git.text(Path(), "remote", "get-url", "origin")
    if not url or not (parts := urlsplit(url)).scheme:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def data_hashes() -> dict[str, str]:
    """Return the DVC hash of each output of a data stage or `inv data.add`, by its path."""
    files = [Path("dvc.lock"), *sorted(Path("data").rglob("*.dvc"))]
    texts = {path.as_posix(): path.read_text(encoding="utf-8") for path in files if path.exists()}
    return data_in(outs_in(texts))


def data_in(outs: dict[str, str]) -> dict[str, str]:
    """Leave out what is not data."""
    return {path: md5 for path, md5 in outs.items() if path.startswith("data/")}


def outs_in(files: dict[str, str]) -> dict[str, str]:
    """Return what DVC keeps, from the text of dvc.lock and of .dvc files, by their paths."""
    hashes = {}
    for name, text in files.items():
        content = yaml.load(text, LOADER)
        stages = content.get("stages", {"add": content})
        for stage in stages.values():
            for out in stage.get("outs", []):
                if "md5" in out:
                    hashes[(Path(name).parent / out["path"]).as_posix()] = out["md5"]
    return hashes


def outs_at(commit: str) -> dict[str, str]:
    """Return the DVC hash of each file and folder that DVC keeps for a commit, by its path."""
    listed = git.text(home(), "ls-tree", "-r", "--name-only", commit, "./data/") or ""
    files = [name for name in listed.splitlines() if name.endswith(".dvc")]
    texts = {name: git.text(home(), "show", f"{commit}:./{name}") for name in ["dvc.lock", *files]}
    return outs_in({name: text for name, text in texts.items() if text})


def model_at(commit: str) -> str | None:
    """Return the DVC hash of the exported model that a commit has."""
    return outs_at(commit).get(MODEL.as_posix())


def config_sha256(config: dict[str, Any]) -> str:
    """Return a hash of a config, whatever the order of its keys."""
    return sha256(json.dumps(config, sort_keys=True).encode())


def some(left_out: Mapping[str, str], limit: int) -> list[str]:
    """Return files and why they were left out, and how many more there are than the limit."""
    lines = [f"{name} ({why})" for name, why in left_out.items()]
    more = len(lines) - limit
    return lines if more <= 0 else [*lines[:limit], f"{more} more"]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def file_sha256(path: Path) -> str | None:
    return sha256(path.read_bytes()) if path.exists() else None
