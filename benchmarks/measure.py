"""Measure what README.md beside this file shows, and write its tables.

    inv bench    about ten minutes; downloads every package once more

Aims stand beside the numbers; nothing fails when one is missed. Close other programs first.
"""

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
# What an earlier run of the pipeline left, without which it runs as a whole.
RESULTS = [".dvc/cache", ".dvc/tmp", "data/raw", "data/prepared", "runs", "models", "dvc.lock"]


def seconds(*command: str, folder: Path = ROOT, **variables: str) -> float:
    """Run a command and return how long it took.

    Raises:
        RuntimeError: the command failed; with what it printed.
    """
    environment = {**os.environ, **variables}
    environment.pop("VIRTUAL_ENV", None)
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    print(f"{took:7.2f} s  {' '.join(command)}", file=sys.stderr)
    return took


def median(times: int, *command: str, folder: Path = ROOT) -> float:
    """Return the median time of a command that was run once before, untimed."""
    seconds(*command, folder=folder)
    return statistics.median(seconds(*command, folder=folder) for _ in range(times))


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

    inv = str(project / ".venv" / ("Scripts/inv.exe" if os.name == "nt" else "bin/inv"))
    pipeline = []
    for _ in range(3):
        for name in RESULTS:
            path = project / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
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


def throughput(project: Path) -> dict[str, float]:
    """Return samples per second by the way of training, the bare loop first."""
    python = project / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    command = [str(python), str(ROOT / "benchmarks" / "throughput.py"), str(project)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def tables(rows: list[tuple[str, float, str]], rates: dict[str, float]) -> str:
    """Return both tables as Markdown."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    lines = [
        f"{date.today()}, {machine}, Python {platform.python_version()}",
        "",
        "| what | seconds | aim |",
        "| --- | ---: | --- |",
        *(f"| {name} | {took:.2f} | {aim} |" for name, took, aim in rows),
        "",
        "| training | samples/s | of the bare loop |",
        "| --- | ---: | ---: |",
    ]
    bare = next(iter(rates.values()))
    lines += [f"| {name} | {rate:,.0f} | {rate / bare:.2f} |" for name, rate in rates.items()]
    return "\n".join(lines)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = waiting(Path(folder).resolve())
        rates = throughput(Path(folder).resolve() / "warm")
    before, _, rest = README.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    measured = f"{before}{BEGIN}\n{tables(rows, rates)}\n{END}{after}"
    README.write_text(measured, encoding="utf-8", newline="\n")
    print(tables(rows, rates))


if __name__ == "__main__":
    main()
