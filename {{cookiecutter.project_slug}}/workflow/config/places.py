"""Which keys the files of conf/ set."""

from pathlib import Path


def package_of(path: Path, folder: Path) -> list[str]:
    """Return the key, in its parts, below which a file of `folder` puts its values."""
    with path.open(encoding="utf-8") as file:
        first_line = file.readline()
    if not first_line.startswith("# @package"):
        return list(path.relative_to(folder).parent.parts)
    name = first_line.split()[-1]
    return [] if name == "_global_" else name.split(".")
