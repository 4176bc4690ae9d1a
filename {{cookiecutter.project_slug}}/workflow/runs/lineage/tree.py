"""Lineage as a tree: what a model was made from, and where each part is."""

from pathlib import Path

import yaml
from rich.text import Text
from rich.tree import Tree

from ...errors import CommandError
from ...paths import PARAMS, ROOT
from ...tracking import provenance
from ..restoring import image
from . import code
from .subjects import Provenance, Subject

FACTS = ("seed", "python", "platform", "accelerator", "precision", "threads")


def draw(subject: Subject, places: dict[str, list[str]]) -> Tree:
    """Draw where something comes from.

    Args:
        places: where its data is, as `data.places` returns it.
    """
    origin, recorded = subject.provenance, subject.recorded
    root = Tree(_label(subject.title))
    run = _add(root, "run", subject.run) if subject.run else root
    commit = _add(run, "commit", code.commit(origin.git.commit))
    if changes := code.changes(origin.git, recorded):
        _add(commit, "changes", changes)
    if origin.config:
        _add(run, "config", _same(origin.config, _config_here(), PARAMS))
    lock = Path("uv.lock")
    _add(run, "lock", _same(origin.lock, provenance.file_sha256(ROOT / lock), lock))
    data = _add(run, "data", "" if origin.data else "none: DVC knew of none")
    for path, md5 in sorted(origin.data.items()):
        node = _add(data, path, md5)
        for place in places[md5]:
            node.add(_label(place))
    if origin.config:
        name, _, digest = (origin.image or "").partition("@")
        image_node = _add(run, "image", f"{name or 'none'}: {_image(origin)}")
        if digest:
            image_node.add(_label(digest))
        for name in FACTS:
            value = getattr(origin, name)
            _add(run, name, "not recorded" if value is None else str(value))
    metrics = recorded.metrics if recorded else None
    why = "not known: the run cannot be read here" if metrics is None else "none was recorded"
    metrics_node = _add(run, "metrics", "" if metrics else why)
    for name, value in (metrics or {}).items():
        _add(metrics_node, name, repr(value))
    return root


def _add(node: Tree, name: str, text: str) -> Tree:
    return node.add(Text.assemble((_plain(name), "bold"), f" {_plain(text)}" if text else ""))


def _label(text: str) -> Text:
    return Text(_plain(text))


def _plain(text: str) -> str:
    """Return a text that a file or a service gave, without what would steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _same(sha256: str | None, here: str | None, file: Path) -> str:
    if not sha256:
        return "not recorded"
    return f"{sha256[:12]}, {'the same as' if sha256 == here else 'not that of'} {file.name} here"


def _config_here() -> str | None:
    file = ROOT / PARAMS
    if not file.exists():
        return None
    return provenance.config_sha256(yaml.safe_load(file.read_text(encoding="utf-8")))


def _image(origin: Provenance) -> str:
    if not origin.image:
        return "it was made outside of a container"
    try:
        return image.locate(origin.image)
    except CommandError as error:
        return str(error)
