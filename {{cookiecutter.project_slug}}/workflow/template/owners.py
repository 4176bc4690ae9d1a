"""Who owns each file of a project, and so what an update does with it.

- `managed`: the template's, the same in every project; replaced whole, and not edited here.
- `merged`: started by the template, changed by the project; Git merges the changes of both.
- `built`: written by a tool from other files; the tool writes it again.
- `yours`: written by the pipeline, or ejected (`inv template.eject`); never touched.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal

Owner = Literal["managed", "merged", "built", "yours"]

LOCK = "uv.lock"
# Paths from the project's folder; one that ends with / is a folder. Everything else is merged.
OWNERS: dict[str, Owner] = {
    "workflow/": "managed",
    "docker/": "managed",
    "deploy/": "managed",
    ".devcontainer/": "managed",
    ".cruft.json": "built",
    LOCK: "built",
    "conf/schema.json": "built",
    "dvc.lock": "yours",
    "params.yaml": "yours",
    "data/": "yours",
    "models/": "yours",
    "reports/": "yours",
    "runs/": "yours",
}


def owner(path: str, skip: Iterable[str] = ()) -> Owner:
    """Return who owns a file.

    Args:
        path: from the project's folder, with forward slashes.
        skip: of the project's record: files, folders or patterns that updates leave alone.
    """
    if is_one_of(path, skip):
        return "yours"
    return next((who for name, who in OWNERS.items() if is_one_of(path, [name])), "merged")


def is_one_of(path: str, names: Iterable[str]) -> bool:
    """Whether a file is one of the files, in one of the folders, or matches one of the patterns."""
    return any(
        path == name or path.startswith(name + "/") or fnmatchcase(path, name)
        for name in (pattern.rstrip("/") for pattern in names)
    )
