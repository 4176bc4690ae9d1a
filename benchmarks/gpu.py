"""Measure training on a GPU, and write the table of README.md.

inv bench --gpu                              on a machine with a GPU of CUDA; about ten minutes
python3 benchmarks/gpu.py --project FOLDER   the same with a project that is there, in the
                                             Python that runs this: nothing is downloaded
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from measuring import ROOT, script, seconds, table, write

MEASURE = Path(__file__).with_name("throughput_gpu.py")
AIMS = {"MLP": 0.8, "CNN": 0.9}  # of the compiled bare loop, by how a network's name begins


def has_gpu() -> bool:
    """Return whether NVIDIA's driver lists a GPU."""
    if not shutil.which("nvidia-smi"):
        return False
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU" in listed.stdout


def measured(python: str, project: Path, *options: str) -> dict[str, Any]:
    """Return what throughput_gpu.py prints.

    Raises:
        SystemExit: it could not measure; it has said why.
    """
    command = [python, str(MEASURE), str(project), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    return json.loads(done.stdout.splitlines()[-1])


def text(found: dict[str, Any]) -> str:
    """Return the tables in Markdown, one for each network."""
    python = platform.python_version()
    parts = [f"{date.today()}, {found['device']}, {found['versions']}, Python {python}"]
    for network, rates in found["rates"].items():
        compiled = next((rate for name, rate in rates.items() if "compiled" in name), None)
        aim = next(value for name, value in AIMS.items() if network.startswith(name))
        head = [network, "samples/s", f"of the compiled bare loop (aim {aim})"]
        rows = [
            [name, f"{rate:,.0f}", f"{rate / compiled:.2f}" if compiled else "-"]
            for name, rate in rates.items()
        ]
        parts.append(table(head, rows))
    places = [f"- `{place}`" for place in found["waits"]]
    waits = "A step waits for the GPU at:\n\n" if places else "No step waits for the GPU."
    parts.append(waits + "\n".join(places))
    parts += [f"- failed: {problem}" for problem in found["problems"]]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, help="one that is there, for this Python")
    options = parser.parse_args()
    if not has_gpu():
        raise SystemExit("bench: nvidia-smi lists no GPU here: run this on a machine that has one")
    if options.project:
        found = measured(sys.executable, options.project)
    else:
        with tempfile.TemporaryDirectory() as folder:
            generate = [sys.executable, "-m", "cookiecutter", str(ROOT), "--no-input", "-f", "-o"]
            seconds(*generate, folder)
            project = Path(folder).resolve() / "my-ml-project"
            seconds("uv", "sync", "--quiet", folder=project)
            found = measured(script(project, "python"), project)
    write("gpu", text(found))


if __name__ == "__main__":
    main()
