"""Measure what README.md beside this file shows, and write its tables.

    inv bench    about ten minutes; downloads every package once more

Aims stand beside the numbers; nothing fails when one is missed. Close other programs first.
"""

import shutil
import statistics
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


def waiting(folder: Path) -> list[tuple[str, float, str]]:
    """Time what people wait for; leaves the demo project at `folder`/warm."""
    generate = [sys.executable, "-m", "cookiecutter", str(ROOT), "--no-input", "-f", "-o"]
    rows = [("generation", median(5, *generate, str(folder / "generated")), "under 1 s")]

    with tempfile.TemporaryDirectory(dir=folder) as cache:
        cold = ("uv", "run", "inv", "demo", "--folder", str(folder / "cold"))
        took = seconds(*cold, UV_CACHE_DIR=cache)
        rows.append(("`inv demo`, empty package cache", took, "under 3 min"))
    shutil.rmtree(folder / "cold")
    project = folder / "warm"
    warm = seconds("uv", "run", "inv", "demo", "--folder", str(project))
    rows.append(("`inv demo`, packages in the cache", warm, ""))

    inv = script(project, "inv")
    pipeline = []
    for _ in range(3):
        remove_results(project)
        pipeline.append(seconds(inv, "train", folder=project))
    rows.append(("`inv train`, whole pipeline", statistics.median(pipeline), "under 25 s"))
    rows.append(
        ("`inv train`, nothing to do", median(5, inv, "train", folder=project), "under 1 s")
    )
    rows.append(("`inv --list`", median(5, inv, "--list", folder=project), "under 0.3 s"))
    rows.append(
        ("`uv run inv --list`", median(5, "uv", "run", "inv", "--list", folder=project), "")
    )
    return rows


def tables(rows: list[tuple[str, float, str]], rates: dict[str, float]) -> str:
    """Return both tables as Markdown."""
    waits = [[name, f"{took:.2f}", aim] for name, took, aim in rows]
    bare = next(iter(rates.values()))
    trained = [[name, f"{rate:,.0f}", f"{rate / bare:.2f}"] for name, rate in rates.items()]
    return "\n\n".join(
        [
            machine(),
            table(["what", "seconds", "aim"], waits),
            table(["training", "samples/s", "of the bare loop"], trained),
        ]
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = waiting(Path(folder).resolve())
        rates = throughput(Path(folder).resolve() / "warm", "throughput.py")
    write("measured", tables(rows, rates))


if __name__ == "__main__":
    main()
