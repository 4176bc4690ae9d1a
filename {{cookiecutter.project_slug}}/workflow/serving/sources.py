"""Where a deployment gets a model from: a file of this folder, or a URL for a cluster.

    model=models/model.onnx                    the file
    model=models/model.onnx@v1.0.0             the file at a Git revision, or of an experiment
    model=model#production                     the registered version that is in a stage
    model=model@v0.0.1                         a registered version
    model=s3://bucket/model.onnx#sha256=0a1b…  an object, which must be this one

Paths are from the project's root.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dvc.repo import Repo

from ..dvc_store import revision_file
from ..dvc_store.opening import open_revision
from ..dvc_store.revision_file import Place
from ..errors import CommandError
from ..paths import MODEL
from ..registry import versions
from . import store
from .model import load, version_of

# Containers and what a cluster has are called by a model's name: a label of DNS, and some more.
NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
MAX_NAME = 40
CHECKSUM = "#sha256="
# How a service calls the storages that DVC has its remotes on; it reads from no others.
SCHEMES = {"s3": "s3", "gs": "gs", "azure": "az", "https": "https", "http": "http"}


@dataclass(frozen=True)
class Stored:
    """A model in a folder of this machine."""

    name: str
    source: str  # as typed
    commit: str | None  # of Git, which a revision meant
    sha256: str
    file: Path
    run: str | None  # that made it, where it says so

    @property
    def version(self) -> str:
        """The model's version, as its answers name it."""
        return version_of(self.sha256)


@dataclass(frozen=True)
class Located:
    """A model where a cluster can read it."""

    name: str
    source: str  # as typed
    url: str
    sha256: str


def parse_models(text: str) -> list[str]:
    """Return the parts of "NAME=SOURCE,NAME=SOURCE".

    Raises:
        CommandError: a part is written otherwise, or two have one name.
    """
    arguments = [part.strip() for part in text.split(",")]
    names = [split(part)[0] for part in arguments]
    for name in names:
        if names.count(name) > 1:
            raise CommandError(f"{name}: two models have this name: give each its own")
    return arguments


def fetch(argument: str, folder: Path) -> Stored:
    """Fetch the model of "NAME=SOURCE" into `folder`, where its file is called by its SHA-256.

    Raises:
        CommandError: it is written otherwise, there is no such model, or it cannot be served.
    """
    name, source = split(argument)
    commit = None
    existing = set(folder.glob("*.onnx"))
    if store.is_url(source):
        url, sha256 = split_url(source)
        file = store.fetch(url, sha256, folder)
    else:
        path, revision = split_path(source)
        if revision:
            with opened(path, revision) as (repo, _):
                commit = repo.get_rev()
                file = store.save(content_at(repo, path, source), folder, source)
        else:
            require_file(path)
            file = store.save(store.read_file(path), folder, source)
    try:
        model = load(name, file, sha256=file.stem, source=store.shown(source))
    except CommandError:
        if file not in existing:  # what was there may be deployed
            file.unlink()
        raise
    return Stored(name, source, commit, file.stem, file, model.run)


def locate(argument: str) -> Located:
    """Find where a cluster reads the model of "NAME=SOURCE": the URL itself, or the DVC remote.

    Raises:
        CommandError: it is written otherwise, there is no such model, or it is not where a cluster
            can read it.
    """
    name, source = split(argument)
    if store.is_url(source):
        if source.startswith("file:"):
            raise CommandError(f"{source}: a cluster cannot read a file of this machine")
        return Located(name, source, *split_url(source))
    path, revision = split_path(source)
    if not revision:
        require_file(path)
    with opened(path, revision) as (repo, place):
        if place.protocol not in SCHEMES:
            kind = "a folder of this machine" if place.protocol == "local" else place.protocol
            raise CommandError(
                f"{source}: DVC has it in {kind}, where a cluster cannot read it:"
                " use a remote on S3, Google Cloud or Azure"
            )
        if not revision and md5(path) != place.md5:
            raise CommandError(f"{source}: it is not what dvc.lock says: inv train, or dvc commit")
        with named(source):
            is_there = place.exists()
        if not is_there:
            raise CommandError(f"{source}: it is not in the DVC remote: inv data.push")
        scheme, _, rest = place.url.partition("://")
        sha256 = hashlib.sha256()
        content = content_at(repo, path, source) if revision else store.read_file(path)
        for chunk in content:
            sha256.update(chunk)
    return Located(name, source, f"{SCHEMES[scheme]}://{rest}", sha256.hexdigest())


def split(argument: str) -> tuple[str, str]:
    """Return name and source.

    Raises:
        CommandError: one is missing, or the name is no label of DNS.
    """
    name, _, source = argument.partition("=")
    if not source:
        raise CommandError(f"{argument!r}: write NAME=SOURCE, such as model=models/model.onnx")
    if not NAME.fullmatch(name) or len(name) > MAX_NAME:
        raise CommandError(
            f"{name!r} is not a name for a model: at most {MAX_NAME} lower-case letters and digits,"
            " hyphens between them"
        )
    return name, source


def split_url(source: str) -> tuple[str, str]:
    """Return a URL and its SHA-256.

    Raises:
        CommandError: there is none.
    """
    url, _, sha256 = source.partition(CHECKSUM)
    if not store.SHA256.fullmatch(sha256.lower()):
        raise CommandError(
            f"{store.shown(url)}: write its SHA-256 behind it, as sha256sum prints it:"
            f" {CHECKSUM}0a1b…"
        )
    return url, sha256.lower()


def split_path(source: str) -> tuple[Path, str]:
    """Return a path and the revision behind it, "" where there is none.

    Raises:
        CommandError: it is no registered version, though written as one.
    """
    if version := versions.named(source):
        return MODEL, version.commit
    path, _, revision = source.partition("@")
    return Path(path), revision


def require_file(path: Path) -> None:
    """Raise CommandError where there is no file."""
    if not path.is_file():
        raise CommandError(f"{path}: there is no such file: inv train, or inv data.pull")


@contextmanager
def opened(path: Path, revision: str) -> Iterator[tuple[Repo, Place]]:
    """The project at a revision, or as it is, and where DVC keeps a file of it.

    Raises:
        CommandError: Git has no such revision, or DVC no such file.
    """
    source = f"{path}@{revision}" if revision else str(path)
    with named(source):
        repo = open_revision(revision or None)
    with repo:
        with named(source):
            place = revision_file.locate(repo, path)
        yield repo, place


def content_at(repo: Repo, path: Path, source: str) -> Iterator[bytes]:
    """Read a file of a project piece by piece: from DVC's cache, else from the remote.

    Raises:
        CommandError: neither has it, or the remote does not answer.
    """
    with named(source):
        yield from revision_file.read(repo, path)


@contextmanager
def named(source: str) -> Iterator[None]:
    """Put the name of a source before what is wrong with it."""
    try:
        yield
    except CommandError as error:
        raise CommandError(f"{source}: {error}") from None


def md5(path: Path) -> str:
    """Return what DVC calls a file's content by."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
