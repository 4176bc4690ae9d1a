"""Lineage, drawn: what something was made from, and where that is."""

from pathlib import Path

import yaml
from rich.text import Text
from rich.tree import Tree

from ...errors import CommandError
from ...paths import PARAMS, ROOT
from ...tracking import provenance
from ..restoring import image
from . import code
from .subjects import MadeFrom, Subject

FACTS = ("seed", "python", "platform", "accelerator", "precision", "threads")


def draw(subject: Subject, places: dict[str, list[str]]) -> Tree:
    """Draw where something comes from.

    Args:
        places: where its data is, as `data.places` returns it.
    """
    made_from, recorded = subject.made_from, subject.recorded
    root = Tree(_label(subject.title))
    run = _add(root, "run", subject.run) if subject.run else root
    commit = _add(run, "commit", code.commit(made_from.git.commit))
    if changes := code.changes(made_from.git, recorded):
        _add(commit, "changes", changes)
    if made_from.config:
        _add(run, "config", _same(made_from.config, _config_here(), PARAMS))
    lock = Path("uv.lock")
    _add(run, "lock", _same(made_from.lock, provenance.file_sha256(ROOT / lock), lock))
    data = _add(run, "data", "" if made_from.data else "none: DVC knew of none")
    for path, md5 in sorted(made_from.data.items()):
        kept = _add(data, path, md5)
        for place in places[md5]:
            kept.add(_label(place))
    if made_from.config:
        name, _, digest = (made_from.image or "").partition("@")
        found = _add(run, "image", f"{name or 'none'}: {_image(made_from)}")
        if digest:
            found.add(_label(digest))
        for name in FACTS:
            value = getattr(made_from, name)
            _add(run, name, "not recorded" if value is None else str(value))
    metrics = recorded.metrics if recorded else None
    why = "not known: the run cannot be read here" if metrics is None else "none was recorded"
    shown = _add(run, "metrics", "" if metrics else why)
    for name, value in (metrics or {}).items():
        _add(shown, name, repr(value))
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
    return f"{sha256[:12]}, {'that' if sha256 == here else 'not that'} of {file.name} here"


def _config_here() -> str | None:
    file = ROOT / PARAMS
    if not file.exists():
        return None
    return provenance.config_sha256(yaml.safe_load(file.read_text(encoding="utf-8")))


def _image(made_from: MadeFrom) -> str:
    if not made_from.image:
        return "it was made outside of one"
    try:
        return image.place(made_from.image)
    except CommandError as error:
        return str(error)
