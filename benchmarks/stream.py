"""Measure data that does not fit in memory beside data that does; write the table of README.md.

inv bench --stream    on Linux, a few minutes and 4 GB of the disk
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import ROOT, machine, seconds, table, throughput, write


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        seconds(sys.executable, "-m", "cookiecutter", str(ROOT), "--no-input", "-o", folder)
        project = Path(folder).resolve() / "my-ml-project"
        seconds("uv", "sync", "--quiet", "--locked", folder=project)
        found: dict[str, Any] = throughput(project, "stream_reading.py")
    scales = [*found]
    rows = [
        [
            f"`{way}`" if "=" in way else way,
            *(f"{found[scale][way][0]:,.0f}" for scale in scales),
            *(f"{found[scale][way][1]:,.0f}" for scale in scales),
        ]
        for way in found[scales[0]]
    ]
    head = ["", *(f"samples/s, {scale}x" for scale in scales), *(f"MB, {s}x" for s in scales)]
    write("stream", f"{machine()}\n\n{table(head, rows)}")


if __name__ == "__main__":
    main()
