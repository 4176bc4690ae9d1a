"""Updates become pull and merge requests, by the real `gh` and `glab`, of a host made here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from baking import git, new_folder, run_cli
from code_host import TOKEN, CodeHost
from driving import UV
from workflow.template.branches import COMMITTER
from workflow.template.rendering import COOKIECUTTER

from fork import WORKFLOW, fleet

pytestmark = [pytest.mark.slow, pytest.mark.weekly]

# One of each kind: a company has a host of its own.
HOSTS = {"github.com": "gh", "github.example.com": "gh", "gitlab.example.com": "glab"}
PROJECT = "{{cookiecutter.project_slug}}"


@pytest.fixture(scope="module")
def cookiecutter() -> None:
    """What updates render with is in uv's cache: from the host's proxy there is no way out."""
    command = [UV, "tool", "run", "--from", COOKIECUTTER, "cookiecutter", "--version"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(params=HOSTS)
def host(
    cookiecutter: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CodeHost]:
    """A host, which is asked by its real command."""
    command = HOSTS[request.param]
    assert shutil.which(command), f"{command} is not installed"
    for name in ("CI", "GITHUB_ACTIONS", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)
    with CodeHost(new_folder(), request.param) as running:
        monkeypatch.setenv("UV_OFFLINE", "1")
        for name, value in running.variables.items():
            monkeypatch.setenv(name, value)
        if running.name == "github.example.com":  # as the workflow does
            monkeypatch.setenv("GH_HOST", running.name)
        for who in ("AUTHOR", "COMMITTER"):
            monkeypatch.setenv(f"GIT_{who}_NAME", "Test")
            monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.com")
        yield running


@pytest.fixture
def template() -> Path:
    """A template of two files."""
    folder = new_folder() / "template"
    texts = {
        "cookiecutter.json": json.dumps({"project_slug": "digits", "__version": "1.0.0"}),
        f"{PROJECT}/README.md": "# Digits\n",
        f"{PROJECT}/notes.md": "Mine\n",
        "CHANGELOG.md": "# Changelog\n\n## [1.0.0]\n\n- The first one.\n",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder)
    return folder


@pytest.fixture
def project(template: Path, host: CodeHost) -> Path:
    """A project of the template, on the host; the template has something newer."""
    folder = new_folder()
    run_cli("cruft", "create", "--no-input", str(template), cwd=folder).check_returncode()
    project = folder / "digits"
    git(project, "init", "--quiet", "--initial-branch=main")
    git(project, "remote", "add", "origin", host.url)
    commit(project)
    git(project, "push", "--quiet", "origin", "main")
    change(template, "1.1.0")
    return project


def change(template: Path, version: str) -> None:
    questions = {"project_slug": "digits", "__version": version}
    (template / "cookiecutter.json").write_text(json.dumps(questions))
    (template / PROJECT / "README.md").write_text(f"# Digits, {version}\n")
    changelog = (
        f"# Changelog\n\n## [{version}]\n\n- It is {version}.\n\n## [1.0.0]\n\n- The first one.\n"
    )
    (template / "CHANGELOG.md").write_text(changelog)
    commit(template)


def commit(repository: Path) -> str:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message=Change")
    return git(repository, "rev-parse", "HEAD").strip()


def branches(host: CodeHost) -> dict[str, str]:
    lines = git(host.repository, "for-each-ref", "--format=%(refname:short) %(objectname)")
    return dict(line.split() for line in lines.splitlines())


def fork_with_a_fleet(host: CodeHost) -> Path:
    """A fork whose fleet is the host's project."""
    fork = new_folder()
    git(fork, "init", "--quiet")
    (fork / "team").mkdir()
    (fork / "team/projects.toml").write_text(f'[digits]\ngit = "{host.url}"\n')
    return fork


def test_the_fleet_opens_one_request_and_keeps_what_others_did(
    host: CodeHost, project: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = fork_with_a_fleet(host)
    host.checks = {"a" * 40: "failure", git(project, "rev-parse", "HEAD").strip(): "success"}
    (status,) = fleet.status(fork)
    assert (status.checks, status.problem) == ("success", "")

    # A token that the host refuses: nothing is pushed.
    for name in ("GH_TOKEN", "GH_ENTERPRISE_TOKEN", "GITLAB_TOKEN"):
        monkeypatch.setenv(name, "wrong")
    (row,) = fleet.update(fork, apply=True)
    assert row.state == "failed"
    assert "401" in row.problem
    assert list(branches(host)) == ["main"]

    # A host that opens none: the branch is there, and the next try continues.
    for name in ("GH_TOKEN", "GH_ENTERPRISE_TOKEN", "GITLAB_TOKEN"):
        monkeypatch.setenv(name, host.variables[name])
    host.refuses = "Not permitted"
    (row,) = fleet.update(fork, apply=True)
    assert row.problem.startswith("template-update-1.1.0 is pushed, but no request can be opened: ")
    assert "Not permitted" in row.problem
    host.refuses = ""

    (row,) = fleet.update(fork, apply=True)
    assert row.problem == ""
    (opened,) = host.requests
    assert (row.state, row.request) == ("updated", opened["url"])
    assert (opened["head"], opened["base"]) == ("template-update-1.1.0", "main")
    assert opened["title"] == "Update from the template: 1.0.0 to 1.1.0"
    assert opened["text"].startswith("The template's version 1.1.0 (")
    assert opened["text"].endswith("- It is 1.1.0.")

    # Nothing is newer: the same commit. Something is: the same request, of another commit.
    first = branches(host)
    assert fleet.update(fork, apply=True)[0].request == row.request
    assert branches(host) == first
    (template / PROJECT / "more.md").write_text("More\n")
    commit(template)
    assert fleet.update(fork, apply=True)[0].request == row.request
    assert branches(host) != first
    assert len(host.requests) == 1

    # A colleague's commit stays.
    git(project, "fetch", "--quiet")
    git(project, "switch", "--quiet", "template-update-1.1.0")
    (project / "notes.md").write_text("Theirs\n")
    commit(project)
    git(project, "push", "--quiet", "origin", "HEAD")
    theirs = branches(host)
    (row,) = fleet.update(fork, apply=True)
    assert row.problem.startswith("template-update-1.1.0 is in origin already, with other commits")
    assert branches(host) == theirs


@pytest.mark.parametrize("host", [name for name in HOSTS if HOSTS[name] == "gh"], indirect=True)
def test_the_weekly_job_opens_one_request(
    host: CodeHost, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    git(project, "remote", "add", "upstream", f"https://{host.name}/others/theirs.git")
    host.refuses = "GitHub Actions is not permitted to create or approve pull requests"
    weekly = [job(project, "update", "--no-test"), job(project, "proposal")]
    assert [done.returncode for done in weekly] == [0, 1]
    (line,) = weekly[1].stderr.splitlines()
    assert host.refuses in line
    assert "TEMPLATE_UPDATE_TOKEN" in line
    host.refuses = ""

    # A week later the branch is there, of another commit.
    git(project, "commit", "--quiet", "--amend", "--reset-author", "--message=Later")
    before = branches(host)
    done = job(project, "proposal")
    assert done.returncode == 0, done.stderr
    (opened,) = host.requests
    assert done.stdout.rstrip().endswith(f"its pull request is open: {opened['url']}")
    assert (opened["head"], opened["base"]) == ("template-update-1.1.0", "main")
    assert opened["title"] == "Update from the template: 1.1.0"
    assert opened["text"].endswith("- It is 1.1.0.")
    assert branches(host) == before

    assert "stays as it is" in job(project, "proposal").stdout
    # Merged, and its branch deleted: what comes later of the same name is asked again.
    opened["state"] = "MERGED"
    git(host.repository, "branch", "--quiet", "-D", "template-update-1.1.0")
    assert f"{opened['url'][:-1]}2" in job(project, "proposal").stdout
    assert [request["state"] for request in host.requests] == ["MERGED", "OPEN"]


def test_a_newer_version_goes_to_the_open_request(
    host: CodeHost, project: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = fork_with_a_fleet(host)
    ci = "GITHUB_ACTIONS" if host.is_github else "GITLAB_CI"
    for name, value in {"CI": "true", ci: "true", "CI_DEFAULT_BRANCH": "main"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TEMPLATE_UPDATE_TOKEN", TOKEN)

    def weekly() -> subprocess.CompletedProcess[str]:
        git(project, "switch", "--quiet", "main")
        job(project, "update", "--no-test").check_returncode()
        return job(project, "proposal")

    assert "its pull request is open" in weekly().stdout.replace("merge request", "pull request")
    change(template, "1.2.0")
    done = weekly()
    assert done.stdout.startswith("template-update-1.2.0 is pushed as template-update-1.1.0, ")
    (opened,) = host.requests
    assert opened["title"] == "Update from the template: 1.2.0"
    assert list(branches(host)) == ["main", "template-update-1.1.0"]
    assert git(host.repository, "show", "template-update-1.1.0:README.md") == "# Digits, 1.2.0\n"

    change(template, "1.3.0")
    (row,) = fleet.update(fork, apply=True)
    assert (row.state, row.problem) == ("updated", "")
    assert (row.branch, row.request) == ("template-update-1.1.0", opened["url"])
    assert opened["title"] == "Update from the template: 1.0.0 to 1.3.0"
    assert "It is 1.3.0." in opened["text"]

    # A colleague has committed to it: it stays, and there is no second one.
    git(project, "fetch", "--quiet")
    git(project, "switch", "--quiet", "--detach", "origin/template-update-1.1.0")
    (project / "notes.md").write_text("Theirs\n")
    commit(project)
    git(project, "push", "--quiet", "origin", "HEAD:template-update-1.1.0")
    theirs = branches(host)
    change(template, "1.4.0")
    assert "the earlier template-update-1.1.0 is in origin already, with com" in weekly().stdout
    (row,) = fleet.update(fork, apply=True)
    assert row.problem.startswith("template-update-1.1.0 is in origin already, with other commits")
    assert (branches(host), len(host.requests)) == (theirs, 1)

    # A host that is down is no matter of a token.
    host.is_down = True
    (line,) = job(project, "proposal").stderr.splitlines()
    assert "502" in line
    assert "TEMPLATE_UPDATE_TOKEN" not in line
    assert "502" in fleet.update(fork, apply=True)[0].problem


def job(project: Path, module: str, *options: str) -> subprocess.CompletedProcess[str]:
    """A step of the weekly workflow."""
    command = [sys.executable, "-m", f"workflow.template.{module}", f"--project={project}"]
    return subprocess.run(
        [*command, *options],
        env={
            **os.environ,
            "GIT_COMMITTER_NAME": COMMITTER,
            "PYTHONPATH": WORKFLOW,
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
