"""Make a file or folder of the template the project's own: updates then leave it alone.

    python -m workflow.template.eject PATH [--project PATH]

It stays as it is, and the project's record lists it under `skip`.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from ..errors import CommandError
from ..paths import ROOT
from . import owners, record


def eject(project: Path, path: str) -> str:
    """Add a file or folder to what updates leave alone, and return it as it is recorded.

    Args:
        path: from the project's folder, or absolute.

    Raises:
        CommandError: it does not exist, is not in the project, or is its own already.
    """
    project = project.resolve()
    full = (project / path).resolve()
    if full == project or not full.is_relative_to(project):
        raise CommandError(f"{path} is not in the project: name a file or folder of {project}")
    if not full.exists():
        raise CommandError(f"{path} does not exist: name a file or folder of {project}")
    name = full.relative_to(project).as_posix()
    recorded = record.read(project)
    if owners.owner(name, recorded.skip) == "yours" and name not in recorded.skip:
        raise CommandError(f"{name} is the project's own already: updates leave it alone")
    if name not in recorded.skip:
        record.write(project, replace(recorded, skip=(*recorded.skip, name)))
    return name


def main() -> None:
    parser = argparse.ArgumentParser(prog="eject", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("path", help="a file or folder")
    parser.add_argument("--project", type=Path, default=ROOT)
    options = parser.parse_args()
    try:
        name = eject(options.project, options.path)
    except CommandError as error:
        raise SystemExit(str(error)) from None
    print(f"updates leave {name} alone from now on")
    print(f"next: git commit {record.FILE}")


if __name__ == "__main__":
    main()
