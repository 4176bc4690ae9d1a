"""Every way of generation in README.md leads to one project, which begins wherever it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from baking import BakedProject, bake, git, new_folder, run_cli, template, template_repository
from driving import UV, Project, environment


def by_folder(folder: Path) -> None:
    run_cli("cookiecutter", "--no-input", str(template()), cwd=folder).check_returncode()


def by_url(folder: Path) -> None:
    url = template_repository().rename(folder / "template.git").as_uri()
    run_cli("cookiecutter", "--no-input", url, cwd=folder).check_returncode()
    shutil.rmtree(folder / "template.git")


def by_zip(folder: Path) -> None:
    archive = folder / "template.zip"
    git(template_repository(), "archive", "--prefix=template/", f"--output={archive}", "HEAD")
    run_cli("cookiecutter", "--no-input", archive.name, cwd=folder).check_returncode()
    archive.unlink()


def by_cruft(folder: Path) -> None:
    create = ("create", "--no-input", str(template_repository()))
    run_cli("cruft", *create, cwd=folder).check_returncode()


def by_python(folder: Path) -> None:
    bake(folder)


WAYS = [by_folder, by_url, by_zip, by_cruft, by_python]


def files(project: Path) -> dict[str, tuple[bytes, bool]]:
    """Every file: its content, and whether it may be executed."""
    paths = {name: project / name for name in BakedProject(project).files()}
    return {name: (path.read_bytes(), os.access(path, os.X_OK)) for name, path in paths.items()}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_each_way_of_generation_gives_the_same_project(way: Callable[[Path], None]) -> None:
    # So what the slow tests do with a project (setup, train, test, check) stands for each way.
    folder = new_folder()
    way(folder)
    (path,) = folder.iterdir()
    written = files(path)
    record = written.pop(".cruft.json", None)
    assert (record is not None) == (way is by_cruft)
    assert written == files(bake().path)


@pytest.mark.slow
def test_a_project_of_cruft_starts_under_the_git_settings_of_a_company(tmp_path: Path) -> None:
    home = Path(environment("3.11")["HOME"])
    company = tmp_path / "company"
    company.mkdir()
    (tmp_path / "ignore").write_text("*.lock\n*.json\ndata/\n.DS_Store\n")
    (tmp_path / "settings").write_text(
        f"[core]\nhooksPath = {company}\nexcludesFile = {tmp_path / 'ignore'}\n"
        "[commit]\ngpgSign = true\n[init]\ndefaultObjectFormat = sha256\n"
    )
    by_cruft(tmp_path)
    project = Project(tmp_path / "my-ml-project")
    written = BakedProject(project.path).files()
    (project.path / ".DS_Store").touch()
    settings = {"GIT_CONFIG_GLOBAL": str(tmp_path / "settings"), "GNUPGHOME": str(home / "none")}
    printed = project.inv("setup", variables=settings)
    assert printed.endswith("ready: inv train\n")
    assert "git config core.hooksPath" in printed
    assert "git commit --amend --no-edit --gpg-sign" in printed
    assert set(project.run("git", "ls-files", variables=settings).split()) == written
    assert list(company.iterdir()) == []

    # The commit was without hooks: now with them, on every file, the template's record included.
    assert project.inv("setup").endswith("ready: inv train\n")
    assert "Failed" not in project.run("pre-commit", "run", "--all-files")
    project.inv("test", "--", "tests/test_config.py")

    project.run("dvc", "repro", "--quiet", "fetch", variables=settings)  # refused if ignored
    (project.path / "extra.json").write_text("{}\n")
    doctor = project.inv("doctor", code=1, variables=settings)
    assert re.search(r"fix +Git .*extra\.json", doctor)
    project.run("git", "add", "--all", variables=settings)
    assert "dvc.lock" in project.run("git", "ls-files", variables=settings).split()


@pytest.mark.slow
def test_a_project_that_was_moved_works_after_the_commands_of_its_readme(tmp_path: Path) -> None:
    readme = bake().read("README.md")
    (commands,) = re.findall(r"moved or renamed.*?```sh\n(.*?)```", readme, re.DOTALL)
    make_anew, begin = (line.partition("#")[0].split() for line in commands.splitlines())
    assert (make_anew[0], begin) == ("uv", ["uv", "run", "inv", "setup"])

    # What breaks is uv's environment: a small one shows it as well.
    project = tmp_path / "before"
    project.mkdir()
    version = re.search(r'^name = "invoke"\nversion = "(.+)"', bake().read("uv.lock"), re.MULTILINE)
    assert version
    (project / "pyproject.toml").write_text(
        f'[project]\nname = "x"\nversion = "0"\ndependencies = ["invoke=={version[1]}"]\n'
        'requires-python = ">=3.11"\n[tool.uv]\npackage = false\n'
    )
    (project / "tasks.py").write_text(
        "from invoke import task\n\n@task\ndef setup(context):\n    print('ready')\n"
    )
    variables = environment("3.11").copy()
    del variables["UV_PROJECT_ENVIRONMENT"]
    paths = variables["PATH"].split(os.pathsep)  # without this template's own inv
    variables["PATH"] = os.pathsep.join(
        path for path in paths if not shutil.which("inv", path=path)
    )

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        arguments = [UV, *command[1:]]
        return subprocess.run(
            arguments, cwd=project, env=variables, capture_output=True, text=True, check=False
        )

    assert run(*begin).stdout == "ready\n"
    project = project.rename(tmp_path / "after")
    assert run(*begin).returncode  # its scripts name the old folder
    assert run(*make_anew).returncode == 0
    assert run(*begin).stdout == "ready\n"
