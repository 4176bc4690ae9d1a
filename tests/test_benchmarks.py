"""The scripts of benchmarks/ where they cannot measure, and what they write."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


def test_without_a_gpu_one_line_says_so_before_anything_is_made(tmp_path: Path) -> None:
    readme = (FOLDER / "README.md").read_bytes()
    done = subprocess.run(
        [sys.executable, str(FOLDER / "gpu.py")],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "bench: nvidia-smi lists no GPU here: run this on a machine that has one\n"
    )
    assert (FOLDER / "README.md").read_bytes() == readme


def test_the_table_of_a_gpu_compares_with_the_compiled_bare_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    import gpu

    rates = {"bare loop, compiled": 400_000.0, "the project, `loader=device`": 360_000.0}
    found = {"device": "H100", "versions": "torch 2.11.0", "rates": {"CNN 32-64": rates}}
    text = gpu.text({**found, "waits": ["a.py:7"], "problems": ["CNN: OutOfMemoryError"]})
    assert "| the project, `loader=device` | 360,000 | 0.90 |" in text
    assert "(aim 0.9)" in text
    assert "- `a.py:7`" in text
    assert "- failed: CNN: OutOfMemoryError" in text
