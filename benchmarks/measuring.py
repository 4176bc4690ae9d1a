"""What the measuring scripts share: timing a command, and writing a table into README.md."""

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
README = Path(__file__).with_name("README.md")
# What an earlier run of the pipeline left, without which it runs as a whole.
RESULTS = (".dvc/cache", ".dvc/tmp", "data/raw", "data/prepared", "runs", "models", "dvc.lock")


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


def median(times: int, *command: str, folder: Path = ROOT, **variables: str) -> float:
    """Return the median time of a command that was run once before, untimed."""
    seconds(*command, folder=folder, **variables)
    return statistics.median(seconds(*command, folder=folder, **variables) for _ in range(times))


def script(project: Path, name: str) -> str:
    """Return the path of a program in a project's environment."""
    return str(project / ".venv" / (f"Scripts/{name}.exe" if os.name == "nt" else f"bin/{name}"))


def throughput(project: Path, measure: str) -> dict[str, Any]:
    """Return what is measured in a project: samples/s by the way of training, the bare one first.

    Args:
        measure: the file beside this one that measures it, in the project's environment.
    """
    command = [script(project, "python"), str(README.with_name(measure)), str(project)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    rates: dict[str, Any] = json.loads(done.stdout)
    return rates


def remove_results(project: Path) -> None:
    """Remove what the pipeline wrote, so that it runs as a whole."""
    for name in RESULTS:
        path = project / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown; all columns but the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def machine() -> str:
    """Return when and where something was measured."""
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"{date.today()}, {system}, Python {platform.python_version()}"


def write(block: str, text: str) -> None:
    """Put the text between the comments `block: begin` and `block: end` of README.md."""
    begin, end = f"<!-- {block}: begin -->", f"<!-- {block}: end -->"
    before, _, rest = README.read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    README.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8", newline="\n")
    print(text)
