"""What lineage is asked of: a model's file, what is served at a URL, or a run."""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ... import checkpoint_file, formats, onnx_file
from ...errors import CommandError
from ...formats import LaterFormatError
from ...serving.model import version_of
from ...tracking.provenance import FORMAT, file_sha256
from ...tracking.transaction_log import run_folders
from .. import finding
from ..finding import RecordedRun

T = TypeVar("T")

SUFFIXES = (".onnx", ".ckpt")
TIMEOUT = 10  # seconds that a service may take


class Git(msgspec.Struct):
    """The code, as `provenance.collect` has it."""

    commit: str | None = None
    dirty: bool | None = None
    patch: str | None = None
    left_out: list[str] = []


class Run(msgspec.Struct):
    """The W&B run, as `train` has it; `path` starts with the entity if the config names one."""

    id: str
    path: str = ""


class Provenance(msgspec.Struct):
    """The provenance of a model; None is what it does not say.

    `config` is None only where there is no model, but the revision of one.
    """

    git: Git
    data: dict[str, str]
    config: str | None = None
    lock: str | None = None
    image: str | None = None
    seed: int | None = None
    python: str | None = None
    platform: str | None = None
    accelerator: str | None = None
    precision: str | int | None = None
    threads: int | None = None
    run: Run | None = None


class Parameters(msgspec.Struct):
    """What a model service adds to the metadata of the Open Inference Protocol."""

    provenance: Provenance


class Metadata(msgspec.Struct):
    """What is read of a service's metadata."""

    name: str
    versions: list[str]
    parameters: Parameters


class Listed(msgspec.Struct):
    """A model that a service or the web application lists."""

    name: str
    ready: bool


@dataclass(frozen=True)
class Subject:
    """Something that was made by a run.

    Args:
        title: what it is, and where.
        run: which run made it, and where that is, or why this is not known; None for a run.
        recorded: what the run recorded, if it can be read.
    """

    title: str
    provenance: Provenance
    run: str | None
    recorded: RecordedRun | None = None


def find(what: str) -> list[Subject]:
    """Read what something was made from.

    Args:
        what: a file, the URL of a service, of the web application or of one of its models, or a
            run as `finding.find` takes it.

    Raises:
        CommandError: there is no such thing, or it has no provenance.
        CommandError: there is no such run, or it cannot be read.
    """
    if "://" in what:
        return served(what)
    path = Path(what)
    if path.is_file():
        return [file(path)]
    if path.suffix in SUFFIXES:
        raise CommandError(f"{what}: there is no such file: inv train, or inv data.pull")
    return [run(what)]


def file(path: Path) -> Subject:
    """Read an exported model or a checkpoint.

    Raises:
        CommandError: it is neither, or was not made here.
    """
    try:
        is_checkpoint = path.suffix == ".ckpt"
        read = checkpoint_file.read_provenance if is_checkpoint else onnx_file.read_provenance
        recorded = read(path)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    except LaterFormatError:
        raise
    # Pickle and ONNX raise errors of their own for each thing that can be wrong with a file.
    except Exception:
        raise CommandError(f"{path}: no exported model or checkpoint, or a broken one") from None
    if not recorded:
        raise CommandError(f"{path}: it has no provenance, so no `train` of this project made it")
    provenance = _provenance(recorded, str(path))
    return Subject(
        f"{path.as_posix()}, version {_version(path)}", provenance, *_look_up(provenance)
    )


def served(url: str) -> list[Subject]:
    """Ask a service, or the web application, for its models.

    Raises:
        CommandError: nothing answers, or something else does.
    """
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise CommandError(f"this is not a URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise CommandError(f"{parts.scheme}:// cannot be asked: write http://HOST:PORT")
    if "@" in parts.netloc:
        raise CommandError(f"{parts.hostname}: write the address without user and password")
    before, _, after = parts.path.partition("/v2")
    models = parts._replace(path=f"{before.rstrip('/')}/v2/models", query="", fragment="").geturl()
    if one := re.match("/models/([^/]+(/versions/[^/]+)?)", after):
        return [_model(f"{models}/{one[1]}")]
    listed = _ask(models, list[Listed])
    if not listed:
        raise CommandError(f"{models}: it has no model")
    missing = [model.name for model in listed if not model.ready]
    if missing:
        print(f"not ready, so not shown: {', '.join(map(repr, missing))}")
    quote = urllib.parse.quote
    return [_model(f"{models}/{quote(model.name, safe='')}") for model in listed if model.ready]


def run(name: str) -> Subject:
    """Read a run, an experiment or a revision.

    Raises:
        CommandError: there is none.
    """
    recorded = finding.find(name)
    title = f"{recorded.kind} {recorded.name}"
    if recorded.kind == "W&B run":
        place = "in wandb/ here" if run_folders(name) else "in W&B"
        provenance = _provenance(recorded.provenance, title)
        return Subject(f"{title}, {place}", provenance, None, recorded)
    if "git" in recorded.provenance:
        provenance = _provenance(recorded.provenance, title)
        place, made_by = _look_up(provenance)
        return Subject(title, provenance, place, made_by or recorded)
    git = Git(commit=recorded.commit)
    provenance = Provenance(git, recorded.data, lock=recorded.provenance.get("lock"))
    why = "not known: neither the cache nor the remote has its model"
    return Subject(title, provenance, why, recorded)


def _version(path: Path) -> str:
    return version_of(file_sha256(path) or "")


def _model(url: str) -> Subject:
    metadata = _ask(url, Metadata)
    provenance = metadata.parameters.provenance
    title = f"{metadata.name}, version {', '.join(metadata.versions)}, served at {url}"
    return Subject(title, provenance, *_look_up(provenance))


def _ask(url: str, kind: type[T]) -> T:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            content = answer.read()
        return msgspec.json.decode(content, type=kind)
    except urllib.error.HTTPError as error:
        raise CommandError(f"{url}: it answered {error.code} {_refusal(error)}") from None
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, msgspec.MsgspecError):
            raise CommandError(f"{url}: what answers there has no provenance: {error}") from None
        reason = getattr(error, "reason", None) or error
        raise CommandError(f"{url}: it cannot be reached: {reason}") from None


def _refusal(error: urllib.error.HTTPError) -> str:
    """Return why a server refused: in its own words if it is one of ours."""
    try:
        return str(json.loads(error.read())["error"])
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        return str(error.reason)


def _provenance(recorded: dict[str, Any], source: str) -> Provenance:
    formats.require(recorded, FORMAT, source)
    try:
        return msgspec.convert(recorded, Provenance)
    except msgspec.ValidationError as error:
        raise CommandError(f"{source}: its provenance cannot be read: {error}") from None


def _look_up(provenance: Provenance) -> tuple[str, RecordedRun | None]:
    """Return which run made something and where that is, and the run if it can be read."""
    if provenance.run is None:
        return "not known: its provenance names none", None
    name, path = provenance.run.id, provenance.run.path
    try:
        if folders := run_folders(name):
            return f"{name}, in wandb/ here", finding.offline(folders)
        if path.count("/") == 2:
            return f"{path}, in W&B", finding.online(path)
    except CommandError as error:
        return f"{path or name}: {error}", None
    return f"{path or name}, not in wandb/ here", None
