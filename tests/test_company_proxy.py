"""Images are built behind a company's proxy, and keep nothing of its addresses and secrets.

The engine of this machine builds them from an index with a password and a certificate of its own.
"""

from __future__ import annotations

import functools
import json
import re
import secrets
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from baking import FOLDER, ROOT
from driving import UV, Project, environment, set_up
from engine import BASE_IMAGE, PYTHON, docker
from package_index import PackageIndex

pytestmark = [pytest.mark.slow, pytest.mark.docker]

# Each run has cache mounts of its own: what another build has left there is not fetched again.
CACHE = f"company-proxy-{secrets.token_hex(4)}"

# What is in the metadata of a package that the image has. The whole environment of a training is
# built weekly: test_scripts.py tries with each change which build of torch it takes.
INSIDE = [
    ("serve", b"Name: obstore"),
    pytest.param("cpu", b"Name: torch", marks=pytest.mark.weekly),
]

# A training step, and what is installed.
PROBE = """
import importlib.metadata, json
import torch

layer = torch.nn.Linear(2, 1)
layer(torch.ones(4, 2)).sum().backward()
names = [distribution.name for distribution in importlib.metadata.distributions()]
print(json.dumps({"torch": torch.__version__, "gradient": bool(layer.weight.grad.any()),
                  "distributions": names}))
"""


def normal(name: str) -> str:
    """A distribution's name as an index has it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CPU build of torch, from a folder that pip's settings name."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [UV, "tool", "run", "--python", PYTHON, "pip", "download", "--no-index", "--no-deps"]
    done = subprocess.run(
        [*command, "--dest", folder, "torch"], capture_output=True, text=True, check=False
    )
    wheels = list(folder.glob("torch-*+cpu-*.whl"))
    assert wheels, f"let PIP_FIND_LINKS name a folder with a CPU wheel of torch\n{done.stderr}"
    return wheels[0]


@pytest.fixture(scope="module")
def index(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageIndex]:
    """The company's index, before the one that the lock names."""
    lock = tomllib.loads((ROOT / FOLDER / "{{cookiecutter.__pytorch}}uv.lock").read_text("utf-8"))
    (upstream,) = {
        package["source"]["registry"]
        for package in lock["package"]
        if "registry" in package["source"]
    }
    # Where the steps of a build reach this machine, and nobody outside of it does.
    bridge = docker("network", "inspect", "bridge", "--format={{(index .IPAM.Config 0).Gateway}}")
    folder = tmp_path_factory.mktemp("index")
    with PackageIndex(folder, bridge, upstream, wheel) as running:
        yield running


@pytest.fixture(scope="module")
def project(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose lock has the version of the wheel."""
    folder = tmp_path_factory.mktemp("project")
    project = set_up(folder, PYTHON, project_name=CACHE, python_version=PYTHON)
    version = wheel.name.split("-")[1].partition("+")[0]
    command = [UV, "lock", "--quiet", "--upgrade-package", f"torch=={version}"]
    subprocess.run(command, cwd=project.path, env=environment(PYTHON), check=True)
    yield project
    images = [f"{CACHE}-{name}" for name in ("cpu", "serve")]
    subprocess.run(["docker", "rmi", "--force", *images], check=False, capture_output=True)
    records = docker("buildx", "du", "--verbose", "--filter", "type=exec.cachemount")
    for record in records.split("\n\n"):
        if CACHE in record:
            (number,) = re.findall(r"^ID:\s*(\S+)", record, re.MULTILINE)
            docker("buildx", "prune", "--force", "--filter", f"id={number}")


@pytest.fixture(scope="module")
def settings(index: PackageIndex) -> dict[str, str]:
    """What a colleague's .env has."""
    return {
        "BASE_IMAGE": BASE_IMAGE,
        "PACKAGE_INDEX": index.url("simple"),
        "TORCH_INDEX": index.url("torch/simple"),
        "CA_CERTIFICATES": str(index.certificate),
        "NO_PROXY": f"{index.address},{index.password}.example",
    }


@pytest.fixture(scope="module")
def printed(project: Project, settings: dict[str, str]) -> Callable[[str], str]:
    """What building an image prints; each is built once."""
    return functools.cache(lambda image: build(project, image, settings))


def build(
    project: Project, image: str, settings: dict[str, str], cache: str = CACHE, code: int = 0
) -> str:
    """Build an image; return what is printed."""
    options = ("--set", f"*.args.BUILDKIT_CACHE_MOUNT_NS={cache}")
    task = ("docker.build", "--image", image, "--", *options)
    return project.inv(*task, code=code, variables=settings)


def traces(index: PackageIndex) -> list[bytes]:
    """What must not be found: the index's host, its credentials, its certificate."""
    body = index.certificate.read_bytes().splitlines()
    return [
        *(text.encode() for text in (index.host, index.user, index.password, index.credentials)),
        body[len(body) // 2],
    ]


def found(texts: list[bytes], stream: IO[bytes]) -> set[bytes]:
    """Those of the texts that are somewhere in a stream."""
    longest = max(map(len, texts))
    window, seen = b"", set()
    while block := stream.read(1 << 24):
        window = window[-longest:] + block
        seen |= {text for text in texts if text in window}
    return seen


def test_without_the_certificate_the_build_says_what_to_set(
    project: Project, settings: dict[str, str], index: PackageIndex
) -> None:
    without = {**settings, "CA_CERTIFICATES": ""}
    output = build(project, "serve", without, cache=f"{CACHE}-untrusting", code=1)
    (line,) = [line for line in output.splitlines() if line.startswith("docker: ")]
    assert "a certificate is not trusted: set CA_CERTIFICATES in .env" in line
    assert index.password not in output


def test_a_wrong_password_ends_the_build_and_is_not_shown(
    project: Project, settings: dict[str, str], index: PackageIndex
) -> None:
    wrong = secrets.token_hex(16)
    changed = {**settings, "PACKAGE_INDEX": index.url("simple", password=wrong)}
    output = build(project, "serve", changed, cache=f"{CACHE}-wrong", code=1)
    assert wrong not in output
    assert index.password not in output


@pytest.mark.weekly
def test_the_training_image_has_the_cpu_build_of_the_index(
    printed: Callable[[str], str], index: PackageIndex, wheel: Path
) -> None:
    printed("cpu")
    run = ("run", "--rm", "--network=none", f"{CACHE}-cpu")
    assert " train " in docker(*run, "inv", "--list")
    seen: dict[str, Any] = json.loads(docker(*run, "python", "-c", PROBE))
    assert seen["torch"].endswith("+cpu")
    assert seen["gradient"]
    installed = {normal(name) for name in seen["distributions"]}
    assert not [name for name in installed if name.startswith(("nvidia", "cuda", "triton"))]
    assert wheel.name in index.delivered
    assert installed | {"uv"} <= set(index.delivered.values())


def test_the_serving_image_comes_from_the_index(
    printed: Callable[[str], str], index: PackageIndex
) -> None:
    printed("serve")
    run = ("run", "--rm", "--network=none", f"{CACHE}-serve")
    docker(*run, "python", "-c", "import obstore, onnxruntime")
    assert {"obstore", "onnxruntime"} <= set(index.delivered.values())


@pytest.mark.parametrize(("image", "inside"), INSIDE)
def test_no_layer_keeps_anything_of_the_company(
    printed: Callable[[str], str], index: PackageIndex, image: str, inside: bytes
) -> None:
    forbidden = traces(index)
    name = f"{CACHE}-{image}"
    texts = [
        printed(image),
        docker("history", "--no-trunc", name),
        docker("image", "inspect", name),
    ]
    for text in texts:
        assert not [trace for trace in forbidden if trace in text.encode()], text
    # Every layer as it is, with what a later one hides; `inside` shows that it can be read.
    with subprocess.Popen(["docker", "save", name], stdout=subprocess.PIPE) as saved:
        assert saved.stdout
        assert found([*forbidden, inside], saved.stdout) == {inside}
    assert saved.returncode == 0
