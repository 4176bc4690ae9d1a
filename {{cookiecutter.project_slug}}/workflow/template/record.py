"""`.cruft.json`: the template that a project comes from, and the answers that it was made with.

The format is cruft's, so that cruft can read it as well. Of cookiecutter's private variables, only
those are kept that a later version of the template cannot compute itself.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import files
from ..errors import CommandError

FILE = ".cruft.json"
KEYS = ("template", "commit", "checkout", "context", "directory", "skip")
KEPT = ("__year",)  # the private answers that another rendering of the same version needs


@dataclass(frozen=True)
class Record:
    """Where a project comes from.

    Args:
        template: a URL, or the absolute path of a folder; without any password.
        commit: the template's commit; None where it was not known, as in a zip file.
        version: the template's `__version`; None before there was one.
        answers: by question; of the private ones only `__year`.
        skip: paths that updates leave alone; `inv template.eject PATH` adds one.
        checkout: the branch, tag or commit that was asked for; None for the default branch.
        directory: the template's folder in its repository; None for the repository's top.
        others: everything else in the file, kept as it is.
    """

    template: str
    commit: str | None
    version: str | None
    answers: Mapping[str, str]
    skip: tuple[str, ...] = ()
    checkout: str | None = None
    directory: str | None = None
    others: Mapping[str, Any] = field(default_factory=dict)


def read(project: Path) -> Record:
    """Read a project's record.

    Raises:
        CommandError: there is none, or it is not one.
    """
    path = project / FILE
    if not path.exists():
        raise CommandError(
            f"{path} is missing, so the project's template is not known: inv template.link URL"
        )
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CommandError(
            f"{path} is not in the format of cruft: git checkout {FILE}, or inv template.link URL"
        ) from None


def parse(document: str) -> Record:
    """Read what the file holds.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is not a record.
    """
    content = json.loads(document)
    context = content["context"]["cookiecutter"]
    return Record(
        template=content["template"],
        commit=content.get("commit"),
        version=context.get("__version"),
        answers=recorded_answers(context),
        skip=tuple(content.get("skip") or ()),
        checkout=content.get("checkout"),
        directory=content.get("directory"),
        others={k: v for k, v in content.items() if k not in KEYS},
    )


def write(project: Path, record: Record) -> None:
    """Write a project's record; what was there is replaced."""
    files.replace(project / FILE, text(record))


def text(record: Record) -> str:
    """Return a record as the file holds it."""
    private = {"_template": record.template, "_commit": record.commit}
    if record.version is not None:
        private["__version"] = record.version
    content = {
        "template": record.template,
        "commit": record.commit,
        "checkout": record.checkout,
        "context": {"cookiecutter": {**record.answers, **private}},
        "directory": record.directory,
        **({"skip": list(record.skip)} if record.skip else {}),
        **record.others,
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def recorded_answers(context: Mapping[str, Any]) -> dict[str, str]:
    """Return the answers of cookiecutter's context that a record keeps."""
    return {k: v for k, v in context.items() if not k.startswith("_") or k in KEPT}


def without_secret(address: str) -> str:
    """Return a URL without what gives access: user and password, a token in its query.

    The user of `git@host:…` and of `ssh://user@host/…` stays: it is part of the address.
    """
    if "://" not in address:
        return address
    address = address.partition("?")[0]
    return re.sub(r"^((?:\w+\+)?https?://)[^/]*@|^(\S+?://[^/@:]+):[^/@]*(?=@)", r"\1\2", address)
