"""The devcontainer, as the command line of devcontainers starts it for somebody without root."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from baking import BakedProject, bake, default, questions
from engine import BASE_IMAGE, PYTHON, docker, give, inspect, open_folder

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.about(".devcontainer")]

CLI = "@devcontainers/cli@0.89.0"
USER = 1000  # of the person who starts it, where the tests run as root
BAKE = ("docker", "buildx", "bake", "--file", "docker/docker-bake.hcl")
# Nothing is pulled or built again that other tests have; what else is set must not matter.
VARIABLES = {
    "BASE_IMAGE": BASE_IMAGE,
    "TORCH_INDEX": "locked",
    "REGISTRY": "registry.example.com/team",
    "TAG": "other",
}


def output(*command: str, cwd: Path | None = None, **variables: str) -> str:
    """What a command prints, which must succeed."""
    env = {**os.environ, **variables}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
    return done.stdout.strip()


@dataclass(frozen=True)
class Person:
    """Somebody with a home folder who may use Docker; root becomes user 1000."""

    folder: Path

    @property
    def number(self) -> int:
        """The user id."""
        return os.getuid() or USER

    def own(self) -> None:
        """Have all files of the folder belong to this person."""
        if os.getuid() == 0:
            give(self.folder, USER)

    def environment(self) -> dict[str, str]:
        """The environment. The user id may be without a name here, which `id` then gives it."""
        path = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]])
        own = {"HOME": str(self.folder / "home"), "TMPDIR": str(self.folder / "tmp"), "PATH": path}
        return {**os.environ, **VARIABLES, **own}

    def prefix(self) -> tuple[str, ...]:
        """What runs a command as this person."""
        if os.getuid():
            return ()
        group = Path("/var/run/docker.sock").stat().st_gid
        return ("setpriv", f"--reuid={USER}", f"--regid={USER}", f"--groups={group}")

    def devcontainer(self, action: str, folder: Path, *arguments: str, code: int = 0) -> str:
        """Run `devcontainer`; return what it and the container printed."""
        script = self.folder / "node_modules/@devcontainers/cli/devcontainer.js"
        done = subprocess.run(
            [*self.prefix(), "node", script, action, f"--workspace-folder={folder}", *arguments],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout}"
        return done.stdout


@dataclass(frozen=True)
class Devcontainer:
    """A devcontainer that is up."""

    project: BakedProject
    person: Person
    name: str
    printed: str

    def run(self, *command: str, code: int = 0) -> str:
        """Run a command where an editor's terminal would; return what it printed."""
        return self.person.devcontainer("exec", self.project.path, *command, code=code)

    def inspect(self, template: str) -> str:
        """What the engine knows of the container."""
        return docker("inspect", "--format", template, self.name)


def person(folder: Path) -> Person:
    """Somebody for whom `devcontainer` is installed in this folder."""
    assert shutil.which("npm"), "the devcontainer is tested by its own command: install Node.js"
    output("npm", "install", "--no-audit", "--no-fund", f"--prefix={folder}", CLI)
    for name in ("bin", "home", "tmp"):
        (folder / name).mkdir()
    (folder / "bin/id").write_text("#!/bin/sh\necho person\n")
    (folder / "bin/id").chmod(0o755)
    return Person(folder)


@pytest.fixture(scope="module")
def devcontainer() -> Iterator[Devcontainer]:
    """The devcontainer of a new project, which Git does not know yet."""
    with open_folder() as folder:
        starter = person(folder)
        # The answers of test_docker.py, whose layers these are.
        answered = {"project_name": "Image Tests", "python_version": PYTHON}
        project = bake(folder / "home", **answered)
        starter.own()
        try:
            printed = starter.devcontainer("up", project.path)
            result = json.loads(printed.splitlines()[-1])
            assert result["outcome"] == "success"
            yield Devcontainer(project, starter, result["containerId"], printed)
        finally:
            remove(project.path)


def remove(folder: Path) -> None:
    """Remove the devcontainer of a folder, and its images; the cache of builds stays."""
    label = f"label=devcontainer.local_folder={folder}"
    images = {"image-tests-cpu:latest"}
    for container in docker("ps", "--all", "--quiet", f"--filter={label}").split():
        images.add(docker("inspect", "--format={{.Config.Image}}", container))
        docker("rm", "--force", "--volumes", container)
    subprocess.run(["docker", "rmi", *sorted(images)], capture_output=True, check=False)
    # A build leaves what its image stands on without a name.
    title = "label=org.opencontainers.image.title=image-tests"
    docker("image", "prune", "--force", f"--filter={title}")


def layers(image: str) -> list[str]:
    """The layers of an image."""
    return inspect(image)["RootFS"]["Layers"]


@pytest.mark.weekly
def test_it_stands_on_the_image_of_training(devcontainer: Devcontainer) -> None:
    base = layers("image-tests-cpu:latest")
    assert layers(devcontainer.inspect("{{.Image}}"))[: len(base)] == base
    names = {path.name for path in (devcontainer.project.path / ".devcontainer").iterdir()}
    assert names == {"devcontainer.json"}
    python = devcontainer.run("python", "-c", "import sys, torch; print(sys.executable)")
    assert python.strip() == "/opt/venv/bin/python"
    settings = json.loads(devcontainer.project.read(".devcontainer/devcontainer.json"))
    editor = settings["customizations"]["vscode"]["settings"]
    assert editor["python.defaultInterpreterPath"] == python.strip()
    assert devcontainer.inspect("{{.HostConfig.ShmSize}}") == str(2 * 1024**3)


@pytest.mark.weekly
def test_it_starts_with_a_commit_and_hooks(devcontainer: Devcontainer) -> None:
    assert "ready: inv train" in devcontainer.printed
    commits = devcontainer.run("git", "log", "--format=%an <%ae> %s").splitlines()
    assert commits == [f"{default('author')} <{default('email')}> Start from the template"]
    assert devcontainer.run("git", "status", "--porcelain") == ""
    found = devcontainer.run("inv", "doctor", code=1)
    for line in ("Python +3.11", "environment +of the image", "Git +1 commits", "hooks +installed"):
        assert re.search(f"^ok +{line}", found, re.MULTILINE), found
    # The remote's folder is beside the project, and not in the container.
    assert re.findall(r"^fix +(\w+)", found, re.MULTILINE) == ["DVC"]


@pytest.mark.weekly
def test_tasks_run_in_it_and_files_belong_to_the_caller(devcontainer: Devcontainer) -> None:
    assert "Run what changed of the pipeline" in devcontainer.run("inv", "--list")
    assert re.search(r"\d+ passed", devcontainer.run("inv", "test", "--", "-q", "-k", "config"))
    printed = devcontainer.run("inv", "train", "--", "trainer.max_epochs=1")
    assert re.search(r"test: accuracy 0\.\d+", printed)
    assert "passed" in devcontainer.run("ruff", "check")
    assert "no issues found" in devcontainer.run("mypy", "workflow/paths.py")
    folder = devcontainer.project.path
    assert json.loads(devcontainer.project.read("runs/train/metrics.json"))["epochs"] == 1
    assert (folder / "models/model.onnx").exists()
    foreign = [
        path for path in folder.rglob("*") if path.lstat().st_uid != devcontainer.person.number
    ]
    assert foreign == []


@pytest.mark.weekly
def test_a_repository_from_outside_keeps_its_hooks(devcontainer: Devcontainer) -> None:
    hook = devcontainer.project.path / ".git/hooks/pre-commit"
    text = re.sub("(?m)^INSTALL_PYTHON=.*", "INSTALL_PYTHON=/outside/bin/python", hook.read_text())
    hook.write_text(text)
    devcontainer.run("inv", "setup")
    assert hook.read_text() == text
    (devcontainer.project.path / "secret.py").write_text('KEY = "AKIAIOSFODNN7EXAMPLE"\n')
    devcontainer.run("git", "add", "secret.py")
    assert "secret.py:1: AWS Access Key" in devcontainer.run("git", "commit", "-m", "a key", code=1)
    assert devcontainer.run("git", "log", "--format=%s").splitlines() == ["Start from the template"]


@pytest.mark.parametrize(
    ("kind", "framework"),
    [*zip(questions()["dvc_remote"], itertools.cycle(questions()["framework"]), strict=False)],
)
def test_the_image_has_the_client_of_the_remote_and_the_backend(kind: str, framework: str) -> None:
    # Also where no task finds it out, because Docker is all that there is.
    project = bake(dvc_remote=kind, framework=framework, package_name="some_package")
    targets = json.loads(output(*BAKE, "--print", "cpu", cwd=project.path))["target"]
    options = project.run("workflow.extras").stdout.split()
    extras = targets["_base-cpu"]["args"]["EXTRAS"].split()
    assert options == [part for extra in extras for part in ("--extra", extra)]
    assert (options == []) == (kind == "local" and not framework.startswith("keras"))


def test_the_gpu_image_has_the_backend_with_cuda() -> None:
    project = bake(framework="keras-jax")
    found = {"EXTRAS": "jax", "GPU_EXTRAS": "jax-cuda"}  # by `inv docker.build`
    targets = json.loads(output(*BAKE, "--print", "all", cwd=project.path, **found))["target"]
    assert targets["_base-cpu"]["args"]["EXTRAS"] == targets["cpu"]["labels"]["uv.extras"] == "jax"
    assert targets["_base"]["args"]["EXTRAS"] == targets["gpu"]["labels"]["uv.extras"] == "jax-cuda"
    assert "uv.extras" not in targets["serve"]["labels"]
