"""The images of a generated project, built and used by its own tasks on a real engine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from baking import default
from driving import Project, environment, interpreter, stages_run
from engine import (
    BASE_IMAGE,
    PYTHON,
    answer,
    as_user,
    docker,
    free_port,
    give,
    inspect,
    model_service,
    open_folder,
    registry,
    until,
)
from served import answers_as_the_model
from wandb_backend import Backend

pytestmark = [pytest.mark.slow, pytest.mark.docker]

SLUG = "image-tests"
IMAGES = ("cpu", "gpu", "serve", "web")
IN_IMAGE = {
    *("conf", "docker", "dvc.yaml", "image_tests", "pyproject.toml", "tasks.py", "uv.lock"),
    "workflow",
}
LONG = ["trainer.max_epochs=100", "callbacks.early_stopping.patience=100"]


@pytest.fixture(scope="module")
def built(
    for_images: Project, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Project, str]]:
    """A project that has built all its images, and what that printed."""
    project = for_images.copy(tmp_path_factory.mktemp("images"))
    yield project, project.inv("docker.build", "--image", "all")
    docker("image", "rm", *(f"{SLUG}-{target}" for target in IMAGES))
    docker("image", "prune", "--force", f"--filter=label=org.opencontainers.image.title={SLUG}")


@pytest.fixture
def project(built: tuple[Project, str], tmp_path: Path) -> Project:
    """A copy of it, not trained yet."""
    return built[0].copy(tmp_path)


def image(target: str) -> dict[str, Any]:
    """What the engine knows of an image of the project."""
    return inspect(f"{SLUG}-{target}:latest")


def unpacked(target: str, folder: str) -> set[str]:
    """The names in a folder of an image."""
    return set(docker("run", "--rm", "--entrypoint=ls", f"{SLUG}-{target}", "-A", folder).split())


def running(action: str = "train") -> str | None:
    """The name of the project's container that does this."""
    label = f"label=org.opencontainers.image.title={SLUG}"
    names = docker("ps", "--format={{.Names}}", f"--filter={label}").split()
    return next((name for name in names if name.startswith(f"{SLUG}-{action}-")), None)


# What is in the images


def test_the_context_is_small_and_holds_no_data_git_or_secrets(
    built: tuple[Project, str],
) -> None:
    units = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
    sizes = re.findall(r"transferring context: ([\d.]+)(\w+) ", built[1])
    # 0.7 MB of it is uv.lock: the hashes of every file for three systems. The rest is code, which
    # may grow; an environment or .git would be more.
    assert 0 < max(float(number) * units[unit] for number, unit in sizes) < 2e6
    assert unpacked("cpu", "/project") == IN_IMAGE
    assert unpacked("gpu", "/project") == IN_IMAGE
    for target in ("serve", "web"):
        assert unpacked(target, "/service") == {"conf", "workflow"}
        code = unpacked(target, "/service/workflow")
        modules = {"errors.py", "formats.py", "signature.py"}
        assert code == {"__init__.py", "__pycache__", "serving", *modules}


def test_a_run_to_begin_with_is_looked_for_in_the_image_too(built: tuple[Project, str]) -> None:
    command = ["python", "-m", "workflow.pipeline.params", "--check", "train.resume=mian"]
    done = subprocess.run(
        ["docker", "run", "--rm", f"{SLUG}-cpu", *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("config: train.resume: no run 'mian'")


def test_labels_say_what_an_image_is_made_of_and_by_whom(built: tuple[Project, str]) -> None:
    project, _ = built
    lock = hashlib.sha256((project.path / "uv.lock").read_bytes()).hexdigest()
    for target in IMAGES:
        labels = image(target)["Config"]["Labels"]
        known = {name.removeprefix("org.opencontainers.image."): labels[name] for name in labels}
        assert known == {
            "title": SLUG,
            "authors": f"{default('author')} <{default('email')}>",
            "description": "A machine learning project whose results can be reproduced.",
            "licenses": default("license"),
            "version": "0.1.0",
            "uv.lock.sha256": lock,
        }


def test_the_same_content_is_the_same_image_whatever_the_commit_and_the_clone(
    project: Project, tmp_path: Path
) -> None:
    project.run("git", "remote", "add", "origin", "https://me:hunter2@git.example.com/a/b.git")
    project.inv("docker.build", "--image=serve")
    before = image("serve")
    source = before["Config"]["Labels"]["org.opencontainers.image.source"]
    assert source == "https://git.example.com/a/b"
    (project.path / "README.md").open("a").write("More.\n")
    project.commit("Nothing of the image")
    clone = replace(project, path=tmp_path / "clone")
    project.run("git", "clone", "--quiet", str(project.path), str(clone.path))
    clone.run("git", "remote", "set-url", "origin", "git@git.example.com:a/b.git")
    shutil.copy(project.path / ".env", clone.path)
    for one in (project, clone):
        one.inv("docker.build", "--image=serve")
        assert image("serve")["Id"] == before["Id"]
    (clone.path / "workflow/serving/service.py").open("a").write("# changed\n")
    clone.inv("docker.build", "--image=serve")
    assert image("serve")["Id"] != before["Id"]


def test_a_change_of_code_builds_no_dependency_again(project: Project) -> None:
    line = f"# {uuid.uuid4()}\n"  # which no other run of the test has left in the engine's cache
    (project.path / "image_tests/model.py").open("a").write(line)
    (project.path / "workflow/serving/service.py").open("a").write(line)
    printed = project.inv("docker.build", "--image", "all")
    names = dict(re.findall(r"^#(\d+) (\[.+\d/\d\] RUN .*)", printed, re.MULTILINE))
    done = re.findall(r"^#(\d+) DONE", printed, re.MULTILINE)
    assert any("install-environment.sh" in name for name in names.values())
    built_again = [names[number] for number in done if number in names]
    assert ["compileall" in name for name in built_again] == [True, True]  # of serve and web


def test_images_run_as_nobody_special_with_compiled_code() -> None:
    for target in IMAGES:
        user = docker("run", "--rm", "--entrypoint=id", f"{SLUG}-{target}", "-u")
        assert user == "1000"
        folder = "/opt/venv/lib/python3.11/site-packages/numpy/__pycache__"
        assert "__init__.cpython-311.pyc" in unpacked(target, folder)


def test_the_gpu_image_asks_for_the_driver_and_brings_cuda() -> None:
    variables = image("gpu")["Config"]["Env"]
    assert "NVIDIA_VISIBLE_DEVICES=all" in variables
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility" in variables
    program = "import torch; print(torch.version.cuda, torch.backends.cudnn.version())"
    cuda, cudnn = docker("run", "--rm", f"{SLUG}-gpu", "python", "-c", program).split()
    assert float(cuda) >= 12
    assert int(cudnn) > 0


def test_the_serve_image_is_small_and_has_nothing_of_training(built: tuple[Project, str]) -> None:
    assert image("serve")["Size"] - inspect(BASE_IMAGE)["Size"] < 200e6
    packages = unpacked("serve", "/opt/venv/lib/python3.11/site-packages")
    assert {"uvicorn", "onnxruntime"} <= packages
    assert not {"torch", "lightning", "wandb", "hydra", "dvc"} & packages


def test_the_base_may_come_from_another_registry_by_its_digest(
    project: Project, tmp_path: Path
) -> None:
    with registry(tmp_path) as address:
        copy = f"{address}/mirror/python"
        docker("tag", BASE_IMAGE, f"{copy}:any")
        docker("push", "--quiet", f"{copy}:any")
        (digest,) = [d for d in inspect(f"{copy}:any")["RepoDigests"] if d.startswith(copy)]
        docker("image", "rm", f"{copy}:any")
        printed = project.inv(
            "docker.build", "--image=serve", variables={"BASE_IMAGE": digest, "TAG": "mirrored"}
        )
    assert digest in printed
    history = docker("history", "--no-trunc", f"{SLUG}-serve:mirrored")
    assert address not in history
    docker("image", "rm", f"{SLUG}-serve:mirrored")


# Training in a container


@dataclass(frozen=True)
class Training:
    """A training in containers that was interrupted twice, and then resumed to its end.

    Args:
        printed: by each `inv docker.train`.
        left: by the interruptions: the name of a container, and whether there is a checkpoint.
        second: what a second `inv docker.train`, beside the first one, and `docker.list` printed.
    """

    project: Project
    printed: list[str] = field(default_factory=list)
    left: list[tuple[str | None, bool]] = field(default_factory=list)
    second: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def inside(built: tuple[Project, str], tmp_path_factory: pytest.TempPathFactory) -> Training:
    training = Training(built[0].copy(tmp_path_factory.mktemp("inside")))
    project = training.project

    def press_ctrl_c(process: subprocess.Popen[str]) -> None:
        training.second.append(project.inv("docker.train", code=1))
        training.second.append(project.inv("docker.list"))
        os.killpg(process.pid, signal.SIGINT)

    def stop(process: subprocess.Popen[str]) -> None:
        docker("stop", str(running()))

    command = ["inv", "docker.train", "--", *LONG]
    # The two commands before Ctrl-C take seconds, in which the training goes on.
    for when, how in (("epoch   5/100", stop), ("epoch  20/100", press_ctrl_c)):
        training.printed.append(project.interrupt(*command, when=when, how=how))
        checkpoint = project.path / "runs/train/unfinished/last.ckpt"
        training.left.append((running(), checkpoint.exists()))
    training.printed.append(project.run(*command))
    return training


@pytest.fixture(scope="module")
def outside(built: tuple[Project, str], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same training outside of containers, in one go."""
    project = built[0].copy(tmp_path_factory.mktemp("outside"))
    project.inv("train", "--", *LONG)
    return project


def test_an_interrupted_training_leaves_a_checkpoint_and_the_next_resumes(inside: Training) -> None:
    stopped, ctrl_c, finished = inside.printed
    for printed in (stopped, ctrl_c):
        assert "interrupted: the next `inv train` resumes from the last checkpoint" in printed
    for printed in (ctrl_c, finished):
        assert "resuming the interrupted run" in printed
    assert inside.left == [(None, True), (None, True)]


@pytest.mark.weekly
def test_training_inside_equals_training_outside(
    inside: Training, outside: Project, tmp_path: Path
) -> None:
    project = inside.project.copy(tmp_path)
    assert project.results() == outside.results()
    digests = [model_weights(p) for p in (project, outside)]
    assert digests[0] == digests[1]
    # Outside there is nothing to do.
    assert stages_run(project.inv("train", "--", *LONG)) == []
    *trainings, _ = project.runs()
    assert len(trainings) == 3
    for training in trainings:
        provenance = training["config"]["provenance"]
        assert provenance["image"] == f"{SLUG}-cpu@{image('cpu')['Id']}"
        assert provenance["python"].startswith(PYTHON)
    # What waits for its upload outlived the containers: each byte of it arrives from outside.
    with Backend(tmp_path / "server") as backend:
        key = {"WANDB_API_KEY": backend.api_key, "WANDB_BASE_URL": backend.url}
        project.inv("wandb.sync", variables=key)
        model = backend.artifact(SLUG, "model:latest").files["model.onnx"]
        assert model.read_bytes() == (project.path / "models/model.onnx").read_bytes()
        (run,) = backend.runs.values()
        assert {artifact.collection for artifact in run.artifacts} >= {"checkpoint", "model"}


def test_one_training_of_a_folder_at_a_time(inside: Training) -> None:
    refused, listed = inside.second
    assert re.search(r"docker: (\S+) runs already in this folder: .* docker stop \1\n", refused)
    assert re.search(
        rf"{SLUG}-cpu:latest\n(    .*\n)*    running: {SLUG}-train-\w+, running", listed
    )


def model_weights(project: Project) -> str:
    """A hash of the exported model's weights; the rest of the file tells its provenance."""
    program = (
        "import hashlib, onnx; model = onnx.load('models/model.onnx'); print(hashlib.sha256("
        "b''.join(sorted(t.SerializeToString() for t in model.graph.initializer))).hexdigest())"
    )
    return project.run("python", "-c", program).strip()


def test_files_belong_to_the_caller(built: tuple[Project, str]) -> None:
    user = os.getuid() or 1234
    with open_folder() as folder:
        project = built[0].copy(folder)
        give(folder, user)
        home = folder / "home"
        inv = str(interpreter(PYTHON).with_name("inv"))
        done = subprocess.run(
            [*as_user(user, home), inv, "docker.train", "--", "trainer.max_epochs=1"],
            cwd=project.path,
            env=environment(PYTHON),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert "test: accuracy" in done.stdout, done.stdout
        assert {item.lstat().st_uid for item in project.path.rglob("*")} == {user}
        assert (project.path / "models/model.onnx").exists()


# A shell, notebooks, the service


def test_a_shell_has_the_folder_the_user_and_the_account(project: Project, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    key = "k" * 40
    netrc.write_text(f"machine api.wandb.ai\nlogin user\npassword {key}\n")
    program = (
        "import json, os; print(json.dumps([os.getcwd(), os.getuid(), dict(os.environ), "
        "os.listdir()]))"
    )
    printed = project.inv(
        *("docker.shell", "--", "python", "-c", program),
        variables={"NETRC": str(netrc), "WANDB_ENTITY": "our-team", "WANDB_DIR": "/elsewhere"},
    )
    shown, last = printed.splitlines()[:-1], printed.splitlines()[-1]
    folder, user, variables, files = json.loads(last)
    assert folder == str(project.path)
    assert user == os.getuid()
    assert {"dvc.yaml", ".git", ".env"} <= set(files)
    assert variables["WANDB_ENTITY"] == "our-team"
    assert variables["WANDB_API_KEY"] == key
    assert key not in "".join(shown)
    assert "WANDB_DIR" not in variables
    assert variables["WANDB_DOCKER"] == f"{SLUG}-cpu@{image('cpu')['Id']}"
    assert "exit code 3" not in project.inv("docker.shell", "--", "sh", "-c", "exit 3", code=3)


def test_a_shell_in_a_terminal_takes_keys(project: Project) -> None:
    interpreter(PYTHON)
    process, terminal = pty.fork()
    if process == 0:
        inv = str(interpreter(PYTHON).with_name("inv"))
        os.chdir(project.path)
        os.execve(inv, [inv, "docker.shell"], environment(PYTHON))
    seen = b""

    def shown(text: bytes) -> bool:
        nonlocal seen
        if select.select([terminal], [], [], 0)[0]:
            with contextlib.suppress(OSError):
                seen += os.read(terminal, 4096)
        return text in seen

    until(lambda: shown(b"$ ") or shown(b"# "))
    os.write(terminal, b"echo $((40+2)); sleep 300\n")
    until(lambda: shown(b"42\r\n"))
    os.write(terminal, b"\x03")  # Ctrl-C ends the command, not the shell
    os.write(terminal, b"echo $((40+3)); exit 7\n")
    until(lambda: shown(b"43\r\n"))
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 7


def test_the_image_is_made_where_there_is_none_or_of_another_lock(project: Project) -> None:
    options = ["--", "--set=cpu.labels.uv.lock.sha256=old"]
    project.inv("docker.build", *options)
    printed = project.inv("docker.shell", "--", "true")
    assert f"{SLUG}-cpu:latest was built with another uv.lock: building it again" in printed
    assert "building" not in project.inv("docker.shell", "--", "true")
    docker("image", "rm", f"{SLUG}-cpu:latest")
    printed = project.inv("docker.shell", "--", "true")
    assert f"there is no {SLUG}-cpu:latest yet: building it" in printed


def test_a_worktree_finds_its_repository(project: Project, tmp_path: Path) -> None:
    project.run("git", "worktree", "add", "--quiet", str(tmp_path / "worktree"))
    shutil.copy(project.path / ".env", tmp_path / "worktree")
    worktree = replace(project, path=tmp_path / "worktree")
    printed = worktree.inv("docker.shell", "--", "git", "log", "-1", "--format=%s")
    assert printed.endswith("Start from the template\n")


def test_a_notebook_opens_on_the_loopback_only(project: Project) -> None:
    port = free_port()
    process = subprocess.Popen(
        [str(interpreter(PYTHON).with_name("inv")), "docker.notebook", f"--port={port}"],
        cwd=project.path,
        env=environment(PYTHON),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    until(lambda: answer(f"{url}/api") == 200)
    assert answer(f"{url}/api/contents") == 403  # not without the token that it prints
    assert process.stdout
    line = next(line for line in process.stdout if f"{url}/lab?token=" in line)
    token = line.strip().rpartition("=")[2]
    with urllib.request.urlopen(f"{url}/api/contents?token={token}") as response:
        assert "last_run.ipynb" in [item["name"] for item in json.load(response)["content"]]
    bindings = inspect(str(running("shell")))["NetworkSettings"]["Ports"][f"{port}/tcp"]
    assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}
    name = inspect(str(running("shell")))["Name"].removeprefix("/")
    printed = project.inv("docker.notebook", f"--port={port}", code=1)
    stop = f"docker stop {name}"
    assert last_line(printed) == (
        f"docker: port {port} is taken: {stop}, or choose another with --port"
    )
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert running("shell") is None


def test_the_serve_image_answers_from_a_read_only_file_system(
    built: tuple[Project, str], trained: Project
) -> None:
    with model_service(f"{SLUG}-serve", trained.path / "models") as (container, url):
        assert re.search(r"running: \w+, healthy", built[0].inv("docker.list"))
        answers_as_the_model(trained, url)
        docker("stop", container)
        assert inspect(container)["State"]["ExitCode"] == 0


# Pushing


def test_a_pushed_image_is_known_by_the_registrys_digest_and_by_each_commit(
    project: Project, tmp_path: Path
) -> None:
    def commit() -> str:
        return project.run("git", "rev-parse", "HEAD").strip()[:12]

    with registry(tmp_path) as address:
        variables = {"REGISTRY": f"{address}/team"}
        commits = [commit()]
        printed = project.inv("docker.push", "--image=serve", variables=variables)
        (project.path / "README.md").open("a").write("More.\n")
        project.commit("Nothing of the image")
        commits.append(commit())
        again = project.inv("docker.push", "--image=serve", variables=variables)
        name = f"{address}/team/{SLUG}-serve"
        manifest = f"http://{address}/v2/team/{SLUG}-serve/manifests"
        accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
        digests = set()
        for tag in ("latest", *commits):
            with urllib.request.urlopen(
                urllib.request.Request(f"{manifest}/{tag}", None, accept)
            ) as got:
                digests.add(got.headers["Docker-Content-Digest"])
        (digest,) = digests
        for pushed in (printed, again):
            assert pushed.endswith(f"{name}@{digest}\nnext: inv deploy.render ENVIRONMENT\n")
        assert f"    {name}@{digest}\n" in project.inv("docker.list", variables=variables)
        # It can go, whatever other names it has: the registry gives it again.
        assert re.search(r"Docker images +\S+ \S+ +\d", project.inv("clean", variables=variables))
        model = project.path / "conf/model"
        (model / "new.yaml").touch()  # in the image of a training, and in no commit
        refused = project.inv("docker.push", "--image=serve", code=1, variables=variables)
        assert "would have conf/model/new.yaml that no commit has: git add, git commit" in refused
        (model / "cnn.yaml").open("a").write("# changed\n")
        refused = project.inv("docker.push", "--image=serve", code=1, variables=variables)
        assert "would have changes that no commit has: git add, git commit" in refused
        docker("image", "rm", f"{name}:latest", *(f"{name}:{commit}" for commit in commits))


# What can be wrong


def last_line(printed: str) -> str:
    """What a task said in the end; before it, only the commands that it showed."""
    *commands, line = printed.splitlines()
    assert all(command.startswith("$ ") for command in commands), printed
    return line


@pytest.mark.parametrize(
    ("task", "variables", "expected"),
    [
        (
            ["docker.train"],
            {"DOCKER_HOST": "unix:///nowhere/docker.sock"},
            "docker: no Docker Engine answers at unix:///nowhere/docker.sock: start Docker",
        ),
        (
            ["docker.list"],
            {"PATH": "/nowhere"},
            "docker: the command `docker` is missing: https://",
        ),
        (
            ["docker.build", "--image=cpuu"],
            {},
            "docker: no image `cpuu`: choose one of cpu, gpu, serve, serve-gpu, web",
        ),
        (
            ["docker.build"],
            {"CA_CERTIFICATES": "/nowhere/ca.pem"},
            "docker: CA_CERTIFICATES names no file: /nowhere/ca.pem",
        ),
        (
            ["docker.push"],
            {},
            "docker: no registry is named: set REGISTRY in .env, as .env.example shows",
        ),
    ],
    ids=["no engine", "no command", "no such image", "no such file", "no registry"],
)
def test_what_is_wrong_is_one_line(
    task: list[str], variables: dict[str, str], expected: str, project: Project
) -> None:
    # Not by `uv run`, which is looked up in the PATH that a case takes away.
    done = subprocess.run(
        [str(interpreter(PYTHON).with_name("inv")), *task],
        cwd=project.path,
        env={**environment(PYTHON), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert last_line(done.stdout).startswith(expected)


def test_a_taken_port_is_one_line(project: Project) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        printed = project.inv("docker.notebook", f"--port={port}", code=1)
    assert last_line(printed) == f"docker: port {port} is taken: choose another with --port"


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="this machine has a GPU")
def test_no_gpu_is_one_line(project: Project) -> None:
    printed = project.inv("docker.train", "--gpu", code=1)
    assert last_line(printed).startswith("docker: containers get no GPU here (could not select")
    assert "nvidia-ctk runtime configure" in printed
    assert docker("ps", "--all", "--quiet", f"--filter=ancestor={SLUG}-gpu") == ""


def test_a_missing_base_says_what_to_set(project: Project) -> None:
    missing = {"BASE_IMAGE": f"127.0.0.1:{free_port()}/python:3.11"}
    printed = project.inv("docker.build", "--image=serve", code=1, variables=missing)
    assert printed.splitlines()[-1].startswith("docker: the base image cannot be pulled: set BASE")


def test_without_permission_on_the_socket(project: Project, tmp_path: Path) -> None:
    command = ["setpriv", "--reuid=1234", "--regid=1234", "--clear-groups"]
    command += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    printed = as_root(project, *command, "inv", "docker.list")
    assert last_line(printed).startswith("docker: no permission to use Docker at its socket: sudo")


@pytest.mark.parametrize("plugin", ["buildx", "compose"])
def test_an_engine_without_a_plugin(plugin: str, project: Project, tmp_path: Path) -> None:
    (found,) = {
        path
        for folder in ("/usr/local/lib", "/usr/local/libexec", "/usr/lib", "/usr/libexec")
        for path in Path(folder).glob(f"docker/cli-plugins/docker-{plugin}")
    }
    nothing = tmp_path / "nothing"
    nothing.touch()
    script = f"mount --bind {nothing} {found} && exec inv docker.train"
    printed = as_root(project, "unshare", "--mount", "sh", "-c", script)
    assert last_line(printed).startswith(f"docker: `docker {plugin}` is missing. ")


# A second engine, of a network and a disk of its own.
FULL_DISK = """
set -e
mount -t tmpfs -o size=700m none {disk}
ip link set lo up
dockerd --host unix://{disk}/sock --data-root {disk}/data --exec-root {disk}/exec \
    --pidfile {disk}/pid >{disk}.log 2>&1 &
export DOCKER_HOST=unix://{disk}/sock
for i in $(seq 60); do docker info >/dev/null 2>&1 && break; sleep 0.5; done
docker load --quiet --input {disk}.tar
free=$(df --output=avail --block-size=1K {disk} | tail -1)
head --bytes=$(((free - 400) * 1024)) /dev/zero >{disk}/filler
inv docker.build --image serve || echo "exit code $?"
kill $(cat {disk}/pid)
wait
"""


def test_a_full_disk_says_how_to_make_room(project: Project) -> None:
    with open_folder() as folder:  # the engine's sockets are in it: their paths have to be short
        disk = folder / "disk"
        disk.mkdir()
        docker("save", f"--output={disk}.tar", BASE_IMAGE)
        script = FULL_DISK.format(disk=disk)
        printed = as_root(project, "unshare", "--mount", "--net", "sh", "-c", script, code=0)
    *_, line, code = printed.splitlines()
    assert code == "exit code 1"
    assert line.startswith("docker: the disk of the Docker Engine is full: `docker system df`")


def as_root(project: Project, *command: str, code: int = 1) -> str:
    """Run a command that only root may, with the project's tools and the engine's own."""
    daemon = next(p for p in psutil.process_iter(["name"]) if p.info["name"] == "dockerd")
    engine = Path(daemon.exe()).parent
    path = f"{interpreter(PYTHON).parent}:{environment(PYTHON)['PATH']}:{engine}:{engine}/../bin"
    sudo = [] if os.getuid() == 0 else ["sudo", "--preserve-env"]
    done = subprocess.run(
        [*sudo, "env", f"PATH={path}", "LOGNAME=someone", *command],
        cwd=project.path,
        env=environment(PYTHON),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout
