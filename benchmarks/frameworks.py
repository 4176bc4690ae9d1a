"""Measure what each framework costs its users, and write the table of README.md.

inv bench --frameworks    about fifteen minutes, with the packages in uv's cache
"""

import math
import sys
import tempfile
from pathlib import Path

from measuring import (
    ROOT,
    machine,
    median,
    remove_results,
    script,
    seconds,
    table,
    throughput,
    write,
)

# What a training imports, and what measures its throughput.
FRAMEWORKS = {
    "pytorch": ("lightning", "throughput.py"),
    "keras-jax": ("keras", "throughput_keras.py"),
    "keras-tensorflow": ("keras", "throughput_keras.py"),
    "scikit-learn": ("sklearn", None),
}


def of_the_bare_loop(project: Path, measure: str) -> float:
    """Return the throughput of the project's training, of that of a loop by hand."""
    rates = list(throughput(project, measure).values())
    return rates[-1] / rates[0]


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
    module, measure = FRAMEWORKS[framework]
    program = f"import {module}"
    imported = median(3, script(project, "python"), "-c", program, KERAS_BACKEND=backend)
    ratio = of_the_bare_loop(project, measure) if measure else math.nan
    return [setup, size, whole, nothing, imported, ratio]


def main() -> None:
    measurements = {}
    for framework in FRAMEWORKS:
        with tempfile.TemporaryDirectory() as folder:
            measurements[framework] = measured(Path(folder).resolve(), framework)
    first = next(iter(measurements.values()))
    head = ["framework", "`inv setup`, s", "environment, MB", "`inv train`, s"]
    head += ["nothing to do, s", "import, s", "throughput of the bare loop"]
    rows = [
        [
            f"`{name}`",
            *(
                f"{value:,.1f} ({value / one:.2f})"
                for value, one in zip(values[:-1], first, strict=False)
            ),
            "-" if math.isnan(values[-1]) else f"{values[-1]:.2f}",
        ]
        for name, values in measurements.items()
    ]
    write("frameworks", f"{machine()}\n\n{table(head, rows)}")


if __name__ == "__main__":
    main()
