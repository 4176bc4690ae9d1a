"""Every way of generation in README.md leads to one project, which begins wherever it is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from baking import BakedProject, bake, git, new_folder, run_cli, template, template_repository
from driving import UV, Project, environment


@dataclass(frozen=True)
class Origin:
    """What the record of a project has of its template."""

    address: str
    commit: str | None = None
    checkout: str | None = None


def generate(folder: Path, *arguments: str) -> str:
    """Run cookiecutter in a folder, as a user would, and return what it printed."""
    done = run_cli("cookiecutter", "--no-input", *arguments, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def head(repository: Path) -> str:
    return git(repository, "rev-parse", "HEAD").strip()


def by_folder(folder: Path) -> Origin:
    generate(folder, str(template()))
    return Origin(template().as_posix())


def by_relative_folder(folder: Path) -> Origin:
    repository = template_repository().rename(folder.parent / f"{folder.name}-template")
    generate(folder, f"../{repository.name}")
    return Origin(repository.as_posix(), head(repository))


def by_relative_folder_into_another(folder: Path) -> Origin:
    repository = template_repository()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PWD", str(repository.parent))  # as shells do
        done = run_cli(
            *("cookiecutter", "--no-input", "-o", str(folder), "template"), cwd=repository.parent
        )
    done.check_returncode()
    return Origin(repository.as_posix(), head(repository))


def by_worktree(folder: Path) -> Origin:
    repository = template_repository()
    worktree = new_folder() / "worktree"
    git(repository, "worktree", "add", "--quiet", "-b", "feature/one", str(worktree))
    git(repository, "pack-refs", "--all")
    generate(folder, str(worktree))
    return Origin(worktree.as_posix(), head(repository))


def by_url(folder: Path) -> Origin:
    repository = template_repository().rename(new_folder() / "template.git")
    generate(folder, repository.as_uri())
    return Origin(repository.as_uri(), head(repository))


def by_url_with_a_password(folder: Path) -> Origin:
    """Git's own files over HTTP; the password is not asked for, and typed all the same."""
    outside = new_folder()
    served = outside / "template.git"
    git(template_repository(), "clone", "--quiet", "--bare", ".", str(served))
    git(served, "update-server-info")

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(outside))

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}/template.git"
        printed = generate(folder, f"http://me:{PASSWORD}@{host}")
        server.shutdown()
    assert printed.startswith(".cruft.json has the template's address without the password")
    return Origin(f"http://{host}", head(served))


def by_tag(folder: Path) -> Origin:
    repository = template_repository().rename(new_folder() / "template.git")
    git(repository, "tag", "-a", "v9", "-m", "A version")
    tagged = head(repository)
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "Later")
    generate(folder, repository.as_uri(), "--checkout", "v9")
    return Origin(repository.as_uri(), tagged, "v9")


def by_zip(folder: Path) -> Origin:
    archive = new_folder() / "template.zip"
    git(template_repository(), "archive", "--prefix=template/", f"--output={archive}", "HEAD")
    generate(folder, os.path.relpath(archive, folder))
    return Origin(archive.as_posix())


def by_cruft(folder: Path) -> Origin:
    repository = template_repository()
    create = ("create", "--no-input", str(repository))
    run_cli("cruft", *create, cwd=folder).check_returncode()
    return Origin(str(repository), head(repository))


def by_python(folder: Path) -> Origin:
    bake(folder)
    return Origin(template().as_posix())


PASSWORD = "hunter2-of-the-test"
WAYS = [
    by_folder,
    by_relative_folder,
    by_relative_folder_into_another,
    by_worktree,
    by_url,
    by_url_with_a_password,
    by_tag,
    by_zip,
    by_cruft,
    by_python,
]


def files(project: Path) -> dict[str, tuple[bytes, bool]]:
    """Every file: its content, and whether it may be executed."""
    paths = {name: project / name for name in BakedProject(project).files()}
    return {name: (path.read_bytes(), os.access(path, os.X_OK)) for name, path in paths.items()}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_each_way_of_generation_gives_the_same_project_which_knows_its_template(
    way: Callable[[Path], Origin],
) -> None:
    # So what the slow tests do with a project (setup, train, test, check) stands for each way.
    folder = new_folder()
    origin = way(folder)
    (path,) = folder.iterdir()
    written, usual = files(path), files(bake().path)
    content, _ = written.pop(".cruft.json")
    del usual[".cruft.json"]
    assert written == usual
    record = json.loads(content)
    context = record["context"]["cookiecutter"]
    asked = set(json.loads((template() / "cookiecutter.json").read_bytes()))
    assert record["template"] == context["_template"] == origin.address
    assert record["commit"] == context["_commit"] == origin.commit
    assert record["checkout"] == origin.checkout
    assert {name for name in asked if not name.startswith("_")} <= context.keys()
    assert context["project_name"] == "My ML Project"
    assert (context["__version"], context["__year"]) == (version(), str(date.today().year))
    assert PASSWORD.encode() not in content


def test_cruft_reads_the_record_that_the_template_writes() -> None:
    folder = new_folder()
    origin = by_url(folder)
    repository = Path(origin.address.removeprefix("file://"))
    project = folder / "my-ml-project"
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message=Generated")
    assert run_cli("cruft", "check", cwd=project).returncode == 0
    file = repository / "{{cookiecutter.project_slug}}" / "LICENSE"
    file.write_text(file.read_text() + "A line added to the template.\n")
    git(repository, "commit", "--quiet", "--all", "--message=Change")
    updated = run_cli("cruft", "update", "--skip-apply-ask", cwd=project)
    assert updated.returncode == 0, updated.stderr
    changed = git(project, "status", "--porcelain", "--untracked-files=all").split()
    assert changed[1::2] == [".cruft.json", "LICENSE"]
    assert json.loads((project / ".cruft.json").read_bytes())["commit"] == head(repository)


@pytest.mark.parametrize("option", ["--overwrite-if-exists", "--skip-if-file-exists"])
def test_a_record_that_is_there_stays(option: str) -> None:
    # With -s its files stay, too: a newer record would hide from an update that they are older.
    folder = new_folder()
    by_python(folder)
    record = folder / "my-ml-project" / ".cruft.json"
    record.write_text(before := record.read_text().replace("My ML Project", "Mine"))
    generate(folder, "--overwrite-if-exists", option, str(template()))
    assert record.read_text() == before


def test_a_folder_whose_place_is_not_known_is_said() -> None:
    repository = template_repository().rename(new_folder() / "unlike-any-other")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PWD", raising=False)  # as on Windows
        arguments = ("--no-input", "-o", str(folder := new_folder()), repository.name)
        done = run_cli("cookiecutter", *arguments, cwd=repository.parent)
    line, *_ = done.stdout.splitlines()
    assert line == f"It is not known where {repository.name} is: uv run inv template.link FOLDER."
    record = json.loads((folder / "my-ml-project/.cruft.json").read_bytes())
    assert (record["template"], record["commit"]) == (repository.name, None)


def version() -> str:
    """The template's."""
    return json.loads((template() / "cookiecutter.json").read_bytes())["__version"]


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
    generated = BakedProject(project.path).files()
    (project.path / ".DS_Store").touch()
    settings = {"GIT_CONFIG_GLOBAL": str(tmp_path / "settings"), "GNUPGHOME": str(home / "none")}
    printed = project.inv("setup", variables=settings)
    assert printed.endswith("ready: inv train\n")
    assert "git config core.hooksPath" in printed
    assert "git commit --amend --no-edit --gpg-sign" in printed
    assert set(project.run("git", "ls-files", variables=settings).split()) == generated
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
