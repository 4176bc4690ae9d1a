"""Projects as earlier versions of the template made them, each trained and registered then.

    uv run python tests/yesterday.py VERSION …    renews tests/data/yesterday/

What such a project left behind (model, checkpoint, run, tags) is what today's workflow is asked to
read: tests/workflow/test_yesterday.py reads the files, tests/test_yesterday.py whole projects.
"""

from __future__ import annotations

import functools
import importlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType

from baking import FOLDER, ROOT, own_temporary_folder, user_config
from cookiecutter.main import cookiecutter
from driving import PYTHON, Project, environment, interpreter

PACKAGE = "my_ml_project"
# What is read of each: the versions, and commits between them that changed what is recorded.
VERSIONS = {
    "first": "The generated project's spine",
    "serve": "The lock is for the machines that people train on",
    "restore": "inv restore and inv reproduce: a past run",
    "registry": "Tests: rows of the history have types",
    "0.2.0": "Version 0.2.0:",
    "1.0.0": "Version 1.0.0:",
    "kinds": "Requests, metadata, metrics and the log of a service",
    "2.0.0": "Version 2.0.0;",
    "3.0.0": "Version 3.0.0:",
    "3.1.0": "Docs of Keras, and its environment variables; version 3.1.0",
}
# Those of which tests/data/ has the files: each is the last of its format.
KEPT = ("first", "0.2.0", "3.1.0")
DATA = ROOT / "tests" / "data" / "yesterday"
FILES = {"models/model.onnx": "model.onnx", "runs/train/model.ckpt": "model.ckpt"}


def commit_of(version: str) -> str:
    """The commit of the template that a version is."""
    listed = git(ROOT, "log", "--reverse", "--format=%H %s")
    title = VERSIONS[version]
    commits = [line.split()[0] for line in listed.splitlines() if line[41:].startswith(title)]
    assert commits, f"{version}: the template's history is not here: git fetch --unshallow"
    return commits[0]


def make(version: str, folder: Path) -> Project:
    """A project of a version, with the one network that is small, trained for an epoch.

    All of it is committed; its model is in production, where there was a registry.
    """
    project = Project(generate(version, folder))
    shrink(project.path / "conf")
    call(project, "git", "init", "--quiet", "--initial-branch=main")
    commit(project, "Start")
    call(project, "python", "-m", "dvc", "repro")
    commit(project, "Trained")
    call(project, "python", "-m", "dvc", "push")
    if module := promoting(project.path):
        call(project, "python", "-m", module, "promote", "HEAD", "--stage=production")
    return project


def promoting(project: Path) -> str | None:
    """The module that promotes a model, in the workflow of then; None before there was any."""
    for name in (f"{PACKAGE}/registry/__main__.py", "workflow/registry/__main__.py"):
        if (project / name).exists():
            return name.removesuffix("/__main__.py").replace("/", ".")
    there = (project / "workflow/runs/promoting.py").exists()
    return "workflow.runs.promoting" if there else None


def generate(version: str, folder: Path) -> Path:
    """A project as the template made it then."""
    template = Path(tempfile.mkdtemp(dir=folder))
    content = subprocess.run(
        ["git", "archive", "--format=tar", commit_of(version)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(template, filter="data")
    with own_temporary_folder():
        path = cookiecutter(
            str(template), no_input=True, output_dir=str(folder), config_file=str(user_config())
        )
    shutil.rmtree(template)
    return Path(path)


def shrink(conf: Path) -> None:
    """Let conf/ name the smallest network and one epoch."""
    for name, old, new in (
        ("config.yaml", "model: cnn", "model: mlp"),
        ("model/mlp.yaml", "hidden: [128, 64]", "hidden: [8]"),
        ("trainer/cpu.yaml", "max_epochs: 20", "max_epochs: 1"),
    ):
        text = (conf / name).read_text("utf-8")
        assert old in text, f"{name}: {old}"
        (conf / name).write_text(text.replace(old, new), "utf-8")


def commit(project: Project, message: str) -> None:
    call(project, "git", "add", "--all")
    git(project.path, "commit", "--quiet", "--no-verify", "--message", message)


def run_of(project: Project) -> Path:
    """The folder of the run that trained; evaluations have others."""
    return sorted((project.path / "wandb").glob("offline-run-*"))[0]


@functools.cache
def variables() -> dict[str, str]:
    """Environment variables under which a command of a project runs in the shared environment."""
    tools = str(interpreter(PYTHON).parent)
    inherited = environment(PYTHON)
    names = [f"{role}_{key}" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")]
    who = {f"GIT_{name}": "me@localhost" for name in names}
    return {
        **inherited,
        **who,
        "PATH": os.pathsep.join([tools, inherited["PATH"]]),
        "WANDB_MODE": "offline",
    }


def call(project: Project, *command: str, code: int | None = 0) -> str:
    """Run a command in the shared environment, whatever lock the project has."""
    done = subprocess.run(
        command,
        cwd=project.path,
        env=variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert code in (None, done.returncode), f"exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=me", "-c", "user.email=me@localhost", "-c", "commit.gpgSign=false")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def update(project: Project, today: Path) -> None:
    """Give a project the files of today's template; what was trained and recorded stays."""
    stays = {".git", "dvc.lock", "params.yaml", "wandb", "data", "models", "runs", "reports"}
    for path in project.path.iterdir():
        if path.name not in stays | {".dvc"}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(today, project.path, dirs_exist_ok=True, symlinks=True)
    shrink(project.path / "conf")
    commit(project, "Today's template")


def keep(version: str, project: Project) -> None:
    """Write the files of a version to tests/data/, without the paths of this machine in them."""
    target = DATA / version
    shutil.rmtree(target, ignore_errors=True)
    run = run_of(project)
    (target / run.name).mkdir(parents=True)
    for source, name in FILES.items():
        content = (project.path / source).read_bytes()
        neutral = in_zip if name.endswith(".ckpt") else anonymous
        (target / name).write_bytes(neutral(content, project))
    (log,) = run.glob("run-*.wandb")
    framing = load_module(ROOT / FOLDER / "workflow" / "tracking" / "transaction_log.py")
    content = log.read_bytes()
    records = [anonymous(record, project) for record, _ in framing.records(content)]
    (target / run.name / log.name).write_bytes(framing.framed(content[: framing.HEADER], records))


def anonymous(content: bytes, project: Project) -> bytes:
    """The content with other paths, as long as those of the project and of its environment."""
    tools = str(interpreter(project.python).parents[1])
    for place in (str(project.path), tools, os.path.realpath(tools)):
        content = content.replace(place.encode(), b"/" + b"x" * (len(place) - 1))
    return content


def in_zip(content: bytes, project: Project) -> bytes:
    """A checkpoint, each member of it anonymous."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.infolist():
            new.writestr(member.filename, anonymous(old.read(member), project))
    return buffer.getvalue()


def load_module(file: Path) -> ModuleType:
    """A module of the workflow, whose folder is no package here."""
    sys.path.insert(0, str(file.parents[2]))
    return importlib.import_module(f"workflow.{file.parent.name}.{file.stem}")


if __name__ == "__main__":
    for version in sys.argv[1:] or KEPT:
        with tempfile.TemporaryDirectory() as folder:
            keep(version, make(version, Path(folder)))
        print(version, {p.name: p.stat().st_size for p in (DATA / version).rglob("*.*")})
