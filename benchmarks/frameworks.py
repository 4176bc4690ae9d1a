"""Measure what each framework costs its users, and write the table of README.md.

inv bench --frameworks    about ten minutes, with the packages in uv's cache
"""

import sys
import tempfile
from pathlib import Path

from measuring import ROOT, machine, median, remove_results, script, seconds, table, write

# And what a training imports.
FRAMEWORKS = {
    "pytorch": "lightning",
    "keras-jax": "keras",
    "keras-tensorflow": "keras",
    "scikit-learn": "sklearn",
}


def measured(folder: Path, framework: str) -> list[float]:
    """Return the seconds and megabytes of a new project, in the order of the table."""
    generate = [sys.executable, "-m", "cookiecutter", str(ROOT), "--no-input", "-f", "-o"]
    seconds(*generate, str(folder), f"framework={framework}")
    project = folder / "my-ml-project"
    # All of the environment is there after the first `uv run`, but for bytecode and hooks.
    setup = seconds("uv", "run", "inv", "setup", folder=project)
    files = [path for path in (project / ".venv").rglob("*") if path.is_file()]
    size = sum(path.lstat().st_size for path in files) / 1e6
    inv = script(project, "inv")
    seconds(inv, "train", folder=project)
    remove_results(project)
    whole = seconds(inv, "train", folder=project)
    nothing = median(3, inv, "train", folder=project)
    backend = framework.removeprefix("keras-")
    program = f"import {FRAMEWORKS[framework]}"
    imported = median(3, script(project, "python"), "-c", program, KERAS_BACKEND=backend)
    return [setup, size, whole, nothing, imported]


def main() -> None:
    found = {}
    for framework in FRAMEWORKS:
        with tempfile.TemporaryDirectory() as folder:
            found[framework] = measured(Path(folder).resolve(), framework)
    first = next(iter(found.values()))
    head = ["framework", "`inv setup`, s", "environment, MB", "`inv train`, s"]
    head += ["nothing to do, s", "import, s"]
    rows = [
        [
            f"`{name}`",
            *(
                f"{value:,.1f} ({value / one:.2f})"
                for value, one in zip(values, first, strict=True)
            ),
        ]
        for name, values in found.items()
    ]
    write("frameworks", f"{machine()}\n\n{table(head, rows)}")


if __name__ == "__main__":
    main()
