"""Workflows and shell scripts, of the template and of what it generates, through their linters."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from baking import ROOT, BakedProject, bake
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version


@pytest.fixture(scope="module")
def project() -> BakedProject:
    return bake(ci="github")


def tool(name: str) -> str:
    """A command of this environment."""
    return str(Path(sys.executable).with_name(name))


def scripts(folder: Path, names: list[str]) -> list[str]:
    """The files that a POSIX shell or Bash runs, whatever they are called."""
    shells = (b"#!/bin/sh", b"#!/usr/bin/env bash", b"#!/bin/bash", b"#!/usr/bin/env sh")
    return [name for name in names if (folder / name).read_bytes().startswith(shells)]


def test_workflows_pass_zizmor(project: BakedProject) -> None:
    for folder in (ROOT, project.path):
        inputs = sorted((folder / ".github").rglob("*.yml"))
        assert {path.stem for path in inputs} >= {"ci", "dependabot"}
        command = [
            tool("zizmor"),
            "--offline",
            "--no-progress",
            "--strict-collection",
            *map(str, inputs),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "No findings to report" in done.stdout, done.stdout + done.stderr


def test_shell_scripts_pass_shellcheck(project: BakedProject) -> None:
    own = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    names = [name for name in own.stdout.decode().split("\0") if (ROOT / name).is_file()]
    own_scripts = scripts(ROOT, [name for name in names if "{{" not in name])
    projects = scripts(project.path, sorted(project.files()))
    assert ".ci/run" in own_scripts
    assert {"docker/install-environment.sh", "docker/with-secrets.sh"} <= set(projects)
    for folder, found in ((ROOT, own_scripts), (project.path, projects)):
        command = [tool("shellcheck"), *found]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.stdout + done.stderr == ""


def test_libraries_whose_internals_are_read_stay_below_their_next_release(
    project: BakedProject,
) -> None:
    locked = {package["name"]: package["version"] for package in project.toml("uv.lock")["package"]}
    declared = specifiers(project.toml()["project"]["dependencies"])
    for name in ("dvc", "dvc-data", "scmrepo", "wandb"):
        version = Version(locked[name])
        assert version in declared[name]
        assert f"{version.major}.{version.minor}.999" in declared[name]
        assert f"{version.major}.{version.minor + 1}.0" not in declared[name]
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    assert specifiers(groups["dev"])["wandb"] == declared["wandb"]


PYPROJECT = """
[project]
name = "small"
version = "1.0"
requires-python = ">=3.11"
[project.optional-dependencies]
jax = ["jax"]
torch = ["torch==2.0"]
[dependency-groups]
dev = []
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "extra", "installed"),
    [
        ("cpu", "torch", {"torch": "2.0+cpu"}),
        ("locked", "torch", {"torch": "2.0"}),
        ("cpu", "jax", {"jax": "1.0"}),  # though uv.lock has torch, too
    ],
)
def test_an_image_takes_the_cpu_build_of_torch_where_it_has_torch(
    project: BakedProject, tmp_path: Path, kind: str, extra: str, installed: dict[str, str]
) -> None:
    write_index(tmp_path / "packages", jax="1.0", torch="2.0")
    write_index(tmp_path / "cpu", torch="2.0+cpu")
    for folder in ("project", "opt", "tmp"):
        (tmp_path / folder).mkdir()
    (tmp_path / "project/pyproject.toml").write_text(PYPROJECT)
    script = project.read("docker/install-environment.sh")
    script = re.sub("/(project|opt|tmp)(?=[/ ])", rf"{tmp_path}/\1", script)
    variables = {
        "PATH": os.environ["PATH"],
        "UV_DEFAULT_INDEX": (tmp_path / "packages").as_uri(),
        "UV_NO_CACHE": "1",
        "TORCH_INDEX": (tmp_path / "cpu").as_uri(),
    }
    lock = ["uv", "lock", "--quiet"]
    subprocess.run(lock, cwd=tmp_path / "project", env=variables, check=True)
    options = ["--all-groups", "--extra", extra]
    subprocess.run(["sh", "-c", script, "sh", kind, *options], env=variables, check=True)
    site_packages = tmp_path.glob("opt/venv/lib/python*/site-packages/*.dist-info")
    assert dict(path.stem.split("-") for path in site_packages) == installed


def write_index(folder: Path, **packages: str) -> None:
    """Write a package index: of each package one version, without any module."""
    for name, version in packages.items():
        info = f"{name}-{version}.dist-info"
        wheel = folder / name / f"{name}-{version}-py3-none-any.whl"
        wheel.parent.mkdir(parents=True)
        with zipfile.ZipFile(wheel, "w") as file:
            metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            file.writestr(f"{info}/METADATA", metadata)
            file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            file.writestr(f"{info}/RECORD", "")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        link = f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>'
        (wheel.parent / "index.html").write_text(link)


def specifiers(requirements: list[str]) -> dict[str, SpecifierSet]:
    """The versions that each requirement allows, by its name."""
    return {parsed.name: parsed.specifier for parsed in map(Requirement, requirements)}
