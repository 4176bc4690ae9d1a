"""The extras of pyproject.toml that a project, a restored run and an image have."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from workflow import doctor, extras, uv
from workflow.containers import images
from workflow.errors import CommandError
from workflow.paths import ROOT
from workflow.runs.restoring import environment

PYPROJECT = """
[project]
name = "small"
version = "1.0"
description = "A project on JAX"
requires-python = ">=3.11"
[project.optional-dependencies]
s3 = []
jax = ["jax"]
torch = []
jax-cuda = ["jax"]
[tool.uv.sources]
jax = { path = "jax-1.0-py3-none-any.whl" }
"""
REMOTE = "[core]\n    remote = storage\n['remote \"storage\"']\n    url = {}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project on JAX, whose lock is made; it is current."""
    write(tmp_path, "pyproject.toml", PYPROJECT)
    with zipfile.ZipFile(tmp_path / "jax-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            "jax-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: jax\nVersion: 1.0"
        )
        wheel.writestr("jax-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("jax-1.0.dist-info/RECORD", "")
    write(tmp_path, "conf/config.yaml", "framework: keras\nbackend: jax # of Keras\n")
    write(tmp_path, ".dvc/config", REMOTE.format("s3://bucket/dvc"))
    monkeypatch.chdir(tmp_path)
    subprocess.run([uv.command(), "lock", "--quiet", "--offline"], check=True)
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("config", "url", "with_cuda", "without"),
    [
        ("backend: jax\n", "s3://bucket/dvc", ["s3", "jax-cuda"], ["s3", "jax"]),
        ("backend: torch\n", "../storage", ["torch"], ["torch"]),  # has CUDA anyway
        ("framework: pytorch\n", "webdavs://host/dvc", ["webdav"], ["webdav"]),
        ("framework: scikit-learn\n", "/mnt/storage", [], []),
    ],
)
def test_an_environment_has_the_client_of_the_remote_and_the_backend(
    project: Path, config: str, url: str, with_cuda: list[str], without: list[str]
) -> None:
    write(project, "conf/config.yaml", config)
    write(project, ".dvc/config", REMOTE.format(url))
    assert extras.needed(project) == without
    assert extras.needed(project, cuda=True) == with_cuda


def test_a_project_without_a_remote_has_its_backend(project: Path) -> None:
    write(project, ".dvc/config", "[core]\n    autostage = true\n")
    assert extras.needed(project) == ["jax"]


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("backend: theano\n", "conf/config.yaml: backend: pyproject.toml has no extra `theano`"),
        ("backend: [\n", "config.yaml cannot be read: while parsing"),
    ],
)
def test_a_config_without_a_backend_of_keras_is_one_line(
    project: Path, config: str, problem: str
) -> None:
    write(project, "conf/config.yaml", config)
    with pytest.raises(CommandError, match=problem) as refused:
        extras.needed(project)
    assert "\n" not in str(refused.value)


def test_inv_setup_and_ci_install_the_extras_of_their_project(project: Path) -> None:
    shutil.copytree(ROOT / "workflow", project / "workflow")
    write(project, "dvc.yaml", "")
    task = "from workflow.tasks.project import extras; print(*extras())"
    for arguments in (["-m", "workflow.extras"], ["-c", task]):
        command = [sys.executable, *arguments]
        variables = {**os.environ, "PYTHONPATH": str(project)}
        printed = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        assert printed.stdout == "--extra s3 --extra jax\n"
    write(project, "conf/config.yaml", "backend: theano\n")
    refused = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert refused.returncode
    assert "pyproject.toml has no extra `theano`" in refused.stderr.splitlines()[0]


@pytest.mark.parametrize(
    ("accelerator", "options"),
    [("cpu", "--extra s3 --extra torch"), ("NVIDIA H100", "--extra s3 --extra jax-cuda")],
)
def test_a_restored_run_has_the_backend_and_the_device_that_it_had(
    project: Path, capfd: pytest.CaptureFixture[str], accelerator: str, options: str
) -> None:
    backend = options.rpartition(" ")[2].removesuffix("-cuda")
    write(project, "params.yaml", f"backend: {backend}\n")  # with an override, not that of conf/
    environment.make(project, {"accelerator": accelerator, "backend": backend})
    assert f" sync --locked --compile-bytecode {options}\n" in capfd.readouterr().out
    installed = [path.name for path in (project / ".venv").rglob("*.dist-info")]
    assert installed == (["jax-1.0.dist-info"] if backend == "jax" else [])


@pytest.mark.parametrize("code", ['Path().glob("*/**/*.py")', "Path().glob('*.py')"])
def test_an_environment_has_what_the_code_of_then_can_read(project: Path, code: str) -> None:
    write(project, "workflow/lightning/resume.py", f"sorted({code})\n")
    with zipfile.ZipFile(project / "jax-1.0-py3-none-any.whl", "a") as wheel:
        wheel.writestr("jax/one.py", "# coding: big5\n# 中\n".encode("big5"))
        wheel.writestr("jax/two.py", "# 中\n".encode())
    write(project, ".dvc/config", "")
    write(project, "params.yaml", "backend: jax\n")
    (project / "uv.lock").unlink()  # it has the wheel's hash
    subprocess.run([uv.command(), "lock", "--quiet", "--offline"], check=True)
    environment.make(project, {"backend": "jax"})
    names = {path.name for path in (project / ".venv").rglob("jax/*.py")}
    assert names == ({"two.py"} if "**" in code else {"one.py", "two.py"})


def test_an_environment_that_lacks_the_backend_is_not_that_of_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UV_NO_SYNC", "1")
    assert environment.shared({"backend": "numpy"})  # which is installed
    assert not environment.shared({"backend": "no_such_backend"})


def test_doctor_says_how_to_install_what_the_config_names(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_NO_SYNC", raising=False)
    monkeypatch.setenv("UV_PROJECT_ENVIRONMENT", str(project / ".venv"))
    (found,) = doctor.look("environment")
    assert found.fix == "uv sync --inexact --extra s3 --extra jax"
    subprocess.run([uv.command(), *found.fix.split()[1:]], check=True)
    assert doctor.look("environment")[0].fine


def test_doctor_looks_for_a_gpu_by_the_backend(project: Path) -> None:
    assert doctor.look("GPU")[0].detail == "not used: JAX is not installed"


def test_images_are_built_with_the_backend_and_of_the_gpu_with_cuda(project: Path) -> None:
    facts = images.facts()
    assert (facts["EXTRAS"], facts["GPU_EXTRAS"]) == ("s3 jax", "s3 jax-cuda")


def test_an_image_is_built_again_for_another_lock_or_backend(project: Path) -> None:
    lock = {images.LOCK_LABEL: images.lock_hash()}
    for target, built, difference in [
        ("cpu", lock | {images.EXTRAS_LABEL: "s3 jax"}, None),
        ("gpu", lock | {images.EXTRAS_LABEL: "s3 jax-cuda"}, None),
        ("serve", lock, None),  # which has nothing of training
        ("cpu", lock | {images.EXTRAS_LABEL: "s3 torch"}, "other extras: s3 torch, and not s3 jax"),
        ("gpu", lock, "other extras: none, and not s3 jax-cuda"),
        ("cpu", {images.EXTRAS_LABEL: "s3 jax"}, "another uv.lock"),
    ]:
        assert images.difference(target, built) == difference
    write(project, "conf/config.yaml", "framework: pytorch\n")
    write(project, ".dvc/config", REMOTE.format("../storage"))
    assert images.difference("cpu", lock) is None
