"""Generate projects from the template as it would be committed now.

`bake(**answers)` gives the project, `refused(**answers)` the line that a bad answer gets.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from configobj import ConfigObj
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter
from jinja2 import Environment

from fork.copying import copy_template
from fork.team import Team, read, touches

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "{{cookiecutter.project_slug}}"


@functools.cache
def workspace() -> Path:
    """A folder of this process, removed when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="template-tests-")).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "tmp").mkdir()
    return folder


@functools.cache
def fixed_template() -> Path:
    """A copy of what Git knows or would add: what users get, without caches and build products."""
    return copy_template(ROOT, workspace() / "fixed-template")


@functools.cache
def template() -> Path:
    """The same; in a fork, what the team has fixed is asked, so that tests can give any answer."""
    return copy_template(ROOT, workspace() / "template", is_open=True)


def questions() -> dict[str, Any]:
    """cookiecutter.json of the template that the tests generate from."""
    everything: dict[str, Any] = json.loads((template() / "cookiecutter.json").read_text("utf-8"))
    return everything


def default(name: str) -> str:
    """The answer to a question that nothing else is typed for: a fork's team has its own."""
    offered = questions()[name]
    return str(offered[0] if isinstance(offered, list) else offered)


@functools.cache
def team() -> Team:
    """What a fork's team has laid over the template; nothing in upstream itself."""
    return read(ROOT) if (ROOT / "team").is_dir() else Team()


def is_the_teams(name: str) -> bool:
    """Whether a fork's team adds a path to projects, changes it, or takes it away."""
    return touches(ROOT, name)


@functools.cache
def user_config() -> Path:
    """A cookiecutter configuration that keeps the user's own, and the home folder, out of this."""
    path = workspace() / "cookiecutter.yaml"
    folders = {name: str(workspace() / name) for name in ("cookiecutters_dir", "replay_dir")}
    path.write_text(yaml.safe_dump(folders))
    return path


def new_folder() -> Path:
    """An empty folder."""
    return Path(tempfile.mkdtemp(dir=workspace()))


@dataclass(frozen=True)
class BakedProject:
    """A generated project."""

    path: Path
    printed: str = ""

    def read(self, name: str) -> str:
        """A file's text."""
        return (self.path / name).read_text(encoding="utf-8")

    def toml(self, name: str = "pyproject.toml") -> dict[str, Any]:
        """A TOML file."""
        return tomllib.loads(self.read(name))

    def yaml(self, name: str) -> Any:
        """A YAML file of one document."""
        return yaml.safe_load(self.read(name))

    def dvc_config(self) -> dict[str, Any]:
        """.dvc/config, read as DVC reads it."""
        with (self.path / ".dvc/config").open(encoding="utf-8") as file:
            return ConfigObj(file).dict()

    def files(self) -> set[str]:
        """Every file, with forward slashes."""
        return {p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file()}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a Python module in the project's folder: run("ruff", "check")."""
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.path,
            capture_output=True,
            text=True,
            check=False,
        )

    def assert_parses(self) -> None:
        """Every file that has a format is valid in it."""
        for name in sorted(self.files()):
            parse(self.path / name)


# Files that no answer changes are parsed once, not once a project (the lock is large).
_PARSED: set[str] = set()


def parse(path: Path) -> None:
    """Parse a file by its name's ending; raise whatever its parser raises, with the name."""
    content = path.read_bytes()
    key = path.suffix + hashlib.sha256(content).hexdigest()
    if key in _PARSED:
        return
    try:
        if path.suffix in (".toml", ".lock"):
            tomllib.loads(content.decode())
        elif path.suffix in (".yaml", ".yml"):
            list(yaml.load_all(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        elif path.suffix in (".json", ".ipynb"):
            json.loads(content)
        elif path.suffix == ".py":
            compile(content, path.name, "exec", dont_inherit=True)
        elif path.match(".dvc/config"):
            ConfigObj(content.decode().splitlines()).dict()
    except Exception as error:
        raise AssertionError(f"{path} does not parse: {error}") from error
    _PARSED.add(key)


@contextmanager
def own_temporary_folder() -> Iterator[None]:
    """Where cookiecutter leaves its rendered hooks: it does not remove them itself."""
    saved, tempfile.tempdir = tempfile.tempdir, str(workspace() / "tmp")
    try:
        yield
    finally:
        tempfile.tempdir = saved


_COMPILED: dict[tuple[Any, ...], Any] = {}


@contextmanager
def compiled_once() -> Iterator[None]:
    """Let Jinja compile each template once in this process, not once a project."""
    real = Environment.compile

    def once(environment: Environment, *source: Any) -> Any:
        key = (type(environment), *source)
        if key not in _COMPILED:
            _COMPILED[key] = real(environment, *source)
        return _COMPILED[key]

    with mock.patch.object(Environment, "compile", once):
        yield


@contextmanager
def captured(number: int) -> Iterator[list[str]]:
    """What is written to a file descriptor, by child processes too; the text is item 0."""
    text: list[str] = []
    saved = os.dup(number)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), number)
        try:
            yield text
        finally:
            os.dup2(saved, number)
            os.close(saved)
            file.seek(0)
            text.append(file.read().decode("utf-8"))


def attempt(
    output_dir: Path | None = None, source: Path | None = None, /, **answers: str
) -> BakedProject | str:
    """The project, or the one line of a refusal, which must leave nothing behind."""
    if output_dir is None:
        output_dir = new_folder() / "projects"
        output_dir.mkdir()
    before = sorted(output_dir.parent.iterdir())
    with own_temporary_folder(), compiled_once(), captured(1) as stdout, captured(2) as stderr:
        try:
            path = cookiecutter(
                str(source or template()),
                no_input=True,
                extra_context=answers,
                output_dir=str(output_dir),
                config_file=str(user_config()),
            )
        except FailedHookException:
            path = None
    lines = stderr[0].splitlines()
    if path is None:
        assert len(lines) == 1, f"not one line: {lines}"
        assert stdout[0] == ""
        assert list(output_dir.iterdir()) == [], "a refusal left something behind"
        assert sorted(output_dir.parent.iterdir()) == before
        return lines[0]
    assert lines == [], f"printed while generating: {lines}"
    return BakedProject(Path(path), stdout[0])


def bake(output_dir: Path | None = None, /, **answers: str) -> BakedProject:
    """Generate a project without a question; the rest of the answers are the defaults."""
    outcome = attempt(output_dir, **answers)
    assert isinstance(outcome, BakedProject), f"refused: {outcome}"
    return outcome


def bake_as_team(**answers: str) -> BakedProject:
    """Generate a project as people of a fork's team do: what is fixed there stays as it is."""
    outcome = attempt(None, fixed_template(), **answers)
    assert isinstance(outcome, BakedProject), f"refused: {outcome}"
    return outcome


def refused(**answers: str) -> str:
    """The line with which the answers are refused."""
    outcome = attempt(**answers)
    assert isinstance(outcome, str), f"accepted: {answers}"
    return outcome


def run_cli(*arguments: str, cwd: Path, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run `python -m ...` as a user's shell would, with the tests' own cookiecutter settings."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        input=typed,
        capture_output=True,
        check=False,
        text=True,
        encoding="utf-8",
        env={
            **os.environ,
            "COOKIECUTTER_CONFIG": str(user_config()),
            "TMPDIR": str(workspace() / "tmp"),
        },
    )


def git(folder: Path, *arguments: str) -> str:
    """Run Git with an identity and without the user's settings."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    done = subprocess.run(
        ["git", *identity, *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
    )
    return done.stdout


def template_repository() -> Path:
    """The template as a Git repository of its own."""
    repository = new_folder() / "template"
    shutil.copytree(template(), repository)
    git(repository, "init", "--quiet", "--initial-branch=main")
    git(repository, "add", "--all", "--force")
    git(repository, "commit", "--quiet", "--message=Template")
    return repository
