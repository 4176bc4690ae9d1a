"""The environment of a restored run: from its uv.lock, on its Python."""

import os
import platform
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ... import extras, uv
from ...errors import CommandError
from ...paths import PARAMS, ROOT
from ...tracking import provenance

SHARES = ("UV_PROJECT_ENVIRONMENT", "UV_NO_SYNC")  # say that projects have one environment
# One for each package: ` + numpy==2.3.4`.
PACKAGE_LINE = re.compile(r"(\x1b\[\d+m)* [-+~](\x1b\[\d+m)* \S")
# In the workflow of 1.0.0: it reads each such file as UTF-8, those of .venv too.
READS_ALL = 'glob("*/**/*.py")'
OF_THIS_FOLDER = ("VIRTUAL_ENV", "PYTHONPATH", "DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME")


def shared(origin: dict[str, Any]) -> bool:
    """Whether the environment of this process is meant for other folders too, and is the run's."""
    same = {
        "lock": provenance.file_sha256(ROOT / "uv.lock"),
        "python": platform.python_version(),
    }
    recorded = {key: origin.get(key) or value for key, value in same.items()}
    backend = origin.get("backend")
    has_backend = not backend or find_spec(backend) is not None
    return recorded == same and has_backend and any(name in os.environ for name in SHARES)


def python(version: str | None) -> str | None:
    """Return what to ask uv for: this version of Python, or else one that differs little."""
    if not version:
        return None
    for request in (version, version.rpartition(".")[0]):
        command = [uv.command(), "python", "find", "--no-project", request]
        result = subprocess.run(command, env=variables(), capture_output=True, check=False)
        if not result.returncode:
            return request
    return None


def make(folder: Path, origin: dict[str, Any]) -> None:
    """Make the environment of a restored project in its folder, from the run's provenance.

    Raises:
        CommandError: uv could not; its own output says why.
    """
    cuda = (origin.get("accelerator") or "cpu") != "cpu"
    command = [uv.command(), "sync", "--locked", "--compile-bytecode"]
    command += extras.options(extras.needed(folder, PARAMS, cuda=cuda))
    command += ["--python", request] if (request := python(origin.get("python"))) else []
    print(f"$ {shlex.join(command)}", flush=True)
    with subprocess.Popen(
        command, cwd=folder, env=variables(), stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        for line in process.stderr or ():
            if not PACKAGE_LINE.match(line):
                print(line, end="", flush=True)
    if process.returncode:
        raise CommandError("uv could not make the environment: the lines above say why")
    resume = folder / "workflow" / "lightning" / "resume.py"
    if resume.exists() and READS_ALL in resume.read_text(encoding="utf-8"):
        _remove_other_encodings(folder / ".venv")


def interpreter(folder: Path) -> Path:
    """Return the Python of a restored project: its own, or this one where it is shared."""
    path = folder / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return path if path.exists() else Path(sys.executable)


def variables() -> dict[str, str]:
    """Return the variables for a process in another project's folder, without those of this."""
    left_out = {*SHARES, *OF_THIS_FOLDER, "UV_PYTHON", "WANDB_RUN_ID", "WANDB_DATA_DIR"}
    return {name: value for name, value in os.environ.items() if name not in left_out}


def _remove_other_encodings(folder: Path) -> None:
    """Remove modules that are not in UTF-8: tests of libraries, such as joblib's in Big5."""
    for path in folder.rglob("*.py"):
        try:
            path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            path.unlink()
