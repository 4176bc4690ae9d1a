"""The template as a project sees it: its record, its versions, what is newer, where files differ.

On a small template of its own, in a real repository, rendered by the real cookiecutter.
"""

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from workflow import doctor
from workflow.errors import CommandError
from workflow.paths import ROOT
from workflow.template import branches, drift, link, proposal, record
from workflow.template.evident import answers_of, yaml_value
from workflow.template.rendering import render, rendering
from workflow.template.source import open_source

SLUG = "{{cookiecutter.project_slug}}"
QUESTIONS = {
    "project_slug": "tides",
    "package_name": "{{ cookiecutter.project_slug }}",
    "author": "Nobody",
    "ci": ["github", "gitlab"],
    "__version": "1.0.0",
    "__year": "{% now 'utc', '%Y' %}",
    "_copy_without_render": ["workflow/*"],
}
FILES = {
    f"{SLUG}/workflow/a.py": "A = 1\n",
    f"{SLUG}/workflow/b.py": "B = 1\n",
    f"{SLUG}/docker/Dockerfile": "FROM {{ cookiecutter.project_slug }}\n",
    f"{SLUG}/README.md": "# Of {{ cookiecutter.author }}\n\nLine\n",
    f"{SLUG}/.{{{{ cookiecutter.ci }}}}": "{{ cookiecutter.__year }}\n",
    f"{SLUG}/{{{{cookiecutter.package_name}}}}/train.py": "PACKAGE = True\n",
    f"{SLUG}/pyproject.toml": '[project]\nname = "{{ cookiecutter.project_slug }}"\n',
    "hooks/pre_gen_project.py": (
        "import sys\nif '{{ cookiecutter.author }}' == 'Me':\n"
        "    sys.exit('author Me is refused: type another')\n"
    ),
    "CHANGELOG.md": "# Changelog\n\n## [1.0.0]\n\n- The first one.\n",
}


def git(folder: Path, *arguments: str) -> str:
    """Run Git without the user's settings, and without the variables that tests set."""
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    command = ["git", *identity, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=inherited | settings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def commit(folder: Path, message: str = "Change") -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A template of version 1.0.0, and one commit after it that is 1.1.0; a project of 1.0.0."""
    folder = tmp_path_factory.mktemp("made") / "template"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    write(folder, {**FILES, "cookiecutter.json": json.dumps(QUESTIONS)})
    old = commit(folder, "1.0.0")
    questions = {"data_card": "none", **QUESTIONS, "__version": "1.1.0"}
    write(
        folder,
        {
            "cookiecutter.json": json.dumps(questions),
            f"{SLUG}/workflow/a.py": "A = 2\n",
            f"{SLUG}/README.md": "# Of {{ cookiecutter.author }}\n\nAnother line\n",
            "CHANGELOG.md": "# Changelog\n\n## [1.1.0]\n\n- A is 2.\n\n"
            "## [1.0.0]\n\n- The first one.\n",
        },
    )
    commit(folder, "1.1.0")
    with open_source(str(folder)) as source:
        answers = {"author": "Zoë = Q", "__year": "2020"}
        rendered = rendering(source, old, answers, folder.with_name("rendered"))
    origin = record.Record(str(folder), old, "1.0.0", rendered.answers)
    record.write(rendered.project, origin)
    return folder, rendered.project


@pytest.fixture
def template(made: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the template."""
    return Path(shutil.copytree(made[0], tmp_path / "template"))


@pytest.fixture
def project(made: tuple[Path, Path], template: Path, tmp_path: Path) -> Path:
    """A copy of the project, in a repository, which comes from the copy of the template."""
    project = Path(shutil.copytree(made[1], tmp_path / "tides"))
    record.write(project, replace(record.read(project), template=str(template)))
    git(project, "init", "--quiet", "--initial-branch=main")
    commit(project, "Start")
    return project


def run(module: str, *arguments: str, project: Path) -> subprocess.CompletedProcess[str]:
    """Run a module as the tasks do."""
    command = [sys.executable, "-m", f"workflow.template.{module}", *arguments]
    return subprocess.run(
        [*command, f"--project={project}"], cwd=ROOT, capture_output=True, encoding="utf-8"
    )


# --- The record ------------------------------------------------------------------------------


def test_a_record_is_read_as_it_was_written_and_keeps_what_is_crufts(tmp_path: Path) -> None:
    cruft = {
        "template": "https://example.com/t.git",
        "commit": "a" * 40,
        "checkout": "v1",
        "context": {"cookiecutter": {"author": "Zoë", "__version": "1", "__pytorch": "x"}},
        "directory": None,
        "skip": ["docs/"],
        "hooks": {"post": "x"},
    }
    (tmp_path / record.FILE).write_text(json.dumps(cruft), encoding="utf-8")
    known = record.read(tmp_path)
    assert (known.version, known.answers, known.skip) == ("1", {"author": "Zoë"}, ("docs/",))
    record.write(tmp_path, known)
    assert record.read(tmp_path) == known
    document = json.loads((tmp_path / record.FILE).read_text(encoding="utf-8"))
    assert document["hooks"] == cruft["hooks"]
    assert "__pytorch" not in document["context"]["cookiecutter"]


@pytest.mark.parametrize("written", [None, "", "[]", "{}", '{"template": "x", "context": []}'])
def test_without_a_record_one_line_says_what_to_type(tmp_path: Path, written: str | None) -> None:
    if written is not None:
        (tmp_path / record.FILE).write_text(written)
    done = run("drift", "check", project=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.endswith("inv template.link URL")


@pytest.mark.parametrize(
    ("typed", "recorded"),
    [
        ("https://me:pw@host/t.git", "https://host/t.git"),
        ("https://token@host/t.git", "https://host/t.git"),
        ("git+https://me:p%40w@host:8080/t.git", "git+https://host:8080/t.git"),
        ("https://host/t.zip?token=pw", "https://host/t.zip"),
        ("ssh://git:pw@host/t.git", "ssh://git@host/t.git"),
        ("ssh://git@host/t.git", "ssh://git@host/t.git"),
        ("git@host:team/t.git", "git@host:team/t.git"),
        ("/srv/t", "/srv/t"),
    ],
)
def test_no_secret_of_an_address_is_recorded(typed: str, recorded: str) -> None:
    assert record.without_secret(typed) == recorded


# --- Its versions ----------------------------------------------------------------------------


def test_a_version_is_its_tag_or_the_first_commit_that_has_it(template: Path) -> None:
    (first, second) = git(template, "log", "--reverse", "--format=%H").split()
    with open_source(str(template)) as source:
        assert source.versions() == {"1.0.0": first, "1.1.0": second}
        assert source.newest() == second
        assert source.resolve("1.0.0") == source.resolve(first[:8]) == source.resolve("v1.0.0")
        assert source.version(first) == "1.0.0"
        assert source.behind(first, second) == 1
        assert source.changelog(first, second) == "## [1.1.0]\n\n- A is 2."
        with pytest.raises(CommandError, match=r"no version, tag or commit 9\.9"):
            source.resolve("9.9")
    git(template, "tag", "-a", "v1.0.0", "-m", "x", second)
    with open_source(str(template)) as source:
        assert source.resolve("1.0.0") == second


def test_a_url_is_fetched_again_and_a_branch_followed(template: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    git(template, "branch", "team")
    with open_source(template.as_uri(), cache) as source:
        first = source.newest()
    git(template, "checkout", "--quiet", "team")
    write(template, {"new.txt": "x\n"})
    latest = commit(template)
    git(template, "checkout", "--quiet", "main")
    with open_source(template.as_uri(), cache) as source:
        assert (source.newest(), source.newest("team")) == (first, latest)
        assert source.newest("v1.0.0") == first  # not a branch: the default one


def test_files_come_out_as_they_were_committed_whatever_git_is_told(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(template, {".gitattributes": "* text=auto eol=crlf export-subst\n", "x.txt": "$Id$\n"})
    (template / "run").write_bytes(b"#!/bin/sh\n")
    (template / "run").chmod(0o755)
    new = commit(template)
    settings = tmp_path / "settings"
    settings.write_text(
        "[core]\nautocrlf = true\n[fetch]\nprune = false\n[init]\ndefaultObjectFormat = sha256\n"
        "[log]\nshowSignature = true\n[color]\nui = always\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "another"))  # as in a hook of the project's
    for address in (str(template), template.as_uri()):
        with open_source(address) as source:
            out = tmp_path / str(len(address))
            source.archive(new, out)
            assert list(source.versions()) == ["1.0.0", "1.1.0"]
        assert (out / "x.txt").read_bytes() == b"$Id$\n"
        assert (out / f"{SLUG}/workflow/a.py").read_bytes() == b"A = 2\n"
        assert os.name == "nt" or os.access(out / "run", os.X_OK)


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("/nowhere/template", r"the template's folder .* does not exist: inv template\.link URL"),
        ("{folder}", r"is not a Git repository, so its versions are not known: inv template\.link"),
        ("/somewhere/t.zip", r"is a zip file, .*: inv template\.link URL"),
        ("http://me:hunter2@127.0.0.1:9/t.git", r"^the template http://127\.0\.0\.1:9/t\.git can"),
    ],
)
def test_a_template_that_is_not_reachable_is_one_line(
    address: str, line: str, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "plain").mkdir()
    known = record.read(project)
    moved = address.format(folder=tmp_path / "plain")
    record.write(project, replace(known, template=moved))
    done = run("drift", "check", project=project)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    with pytest.raises(CommandError, match=line):
        raise CommandError(done.stderr.strip())
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("address", ["/nowhere/template", "/somewhere/t.zip"])
def test_the_weekly_job_of_a_template_that_one_machine_has_says_so_and_is_no_failure(
    address: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.write(project, replace(record.read(project), template=address))
    commit(project, "Moved")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    refused = run("update", project=project)
    assert (refused.returncode, refused.stdout) == (1, "")
    done = run("update", "--scheduled", project=project)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith("::notice title=Template update::not updated: ")
    assert "inv template.link URL" in line
    assert proposal.propose(project).startswith("nothing to propose")


# --- A version, rendered ---------------------------------------------------------------------


def test_without_a_network_the_line_says_what_cannot_be_installed(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    line = r"^cookiecutter==\S+, which renders versions, is missing: Because cookiecutter was not f"
    with open_source(str(template)) as source, pytest.raises(CommandError, match=line):
        render(source, source.newest(), {}, tmp_path / "out")


def test_a_version_is_rendered_with_answers_alone(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("default_context: {author: From the user's settings}\n")
    monkeypatch.setenv("COOKIECUTTER_CONFIG", str(config))
    with open_source(str(template)) as source:
        answers = {"author": "{{ x }} {% \\ größe 😀", "gone": "x", "__year": "2020"}
        rendered = rendering(source, source.newest(), answers, tmp_path / "out")
        plain = render(source, source.newest(), {}, tmp_path / "plain")
        assert (plain / "README.md").read_text().startswith("# Of Nobody\n")
        assert rendered.answers == {
            "project_slug": "tides",
            "package_name": "tides",
            "author": "{{ x }} {% \\ größe 😀",
            "ci": "github",
            "data_card": "none",
            "__year": "2020",
        }
        assert (rendered.project / ".github").read_text() == "2020\n"
        assert not (rendered.project / record.FILE).exists()
        with pytest.raises(CommandError, match=r"1\.1\.0 .* has no ci 'make' \(it has github, git"):
            render(source, source.newest(), {"ci": "make"}, tmp_path / "other")
        with pytest.raises(CommandError, match=r"1\.1\.0 .*: author Me is refused: type another$"):
            render(source, source.newest(), {"author": "Me"}, tmp_path / "other")


# --- What is newer, and where files differ ---------------------------------------------------


def test_a_check_lists_what_would_change_and_what_is_changed_here_too(project: Path) -> None:
    (project / "README.md").write_text("# Mine\n")
    (project / "workflow/a.py").write_text("A = 3\n")
    done = run("drift", "check", "--json", project=project)
    assert (done.returncode, done.stderr) == (2, "")
    newer = json.loads(done.stdout)
    assert (newer["version"], newer["newest_version"], newer["behind"]) == ("1.0.0", "1.1.0", 1)
    assert newer["changelog"] == "## [1.1.0]\n\n- A is 2."
    assert newer["files"] == {"managed": ["workflow/a.py"], "merged": ["README.md"]}
    assert newer["changed_here"] == ["README.md"]
    assert newer["questions"] == {"data_card": "none"}
    shown = drift.summary(drift.Newer(**newer))
    assert shown[0].startswith("1.0.0 (")
    assert " → 1.1.0 (" in shown[0]
    assert "also changed here: README.md" in shown
    assert shown[-3:] == [newer["changelog"], "", "next: inv template.update"]

    known = record.read(project)
    latest = newer["newest_commit"]
    record.write(project, replace(known, commit=latest, version="1.1.0"))
    current = run("drift", "check", project=project)
    assert current.returncode == 0
    assert current.stdout.startswith("up to date: 1.1.0 ")


def test_a_zip_files_version_is_looked_up(project: Path) -> None:
    known = record.read(project)
    with open_source(known.template) as source:
        assert source.recorded(replace(known, commit=None)) == known.commit
        with pytest.raises(CommandError, match=r"neither commit nor version: inv template\.link"):
            source.recorded(replace(known, commit=None, version=None))
        with pytest.raises(CommandError, match=r"does not have .* commit ffffffffff: inv templ"):
            source.recorded(replace(known, commit="f" * 40))


def test_a_diff_is_a_patch_of_managed_files_alone(project: Path) -> None:
    (project / "README.md").write_text("# Mine\n")
    (project / "workflow/b.py").write_bytes(b"B = 1\r\n")  # as a checkout on Windows
    (project / ".gitignore").write_text("__pycache__\n")
    write(project, {"workflow/__pycache__/x.pyc": "x", "workflow/new.py": "N = 1"})
    (project / "workflow/a.py").write_text("A = 3\n")
    (project / "docker/Dockerfile").unlink()
    done = run("drift", "diff", project=project)
    assert done.returncode == 2
    differences = drift.diff(project)
    assert differences.files == {
        "docker/Dockerfile": "removed",
        "workflow/a.py": "changed",
        "workflow/new.py": "added",
    }
    patch = project.parent / "drift.patch"
    patch.write_text(differences.patch, newline="\n")
    git(project, "apply", "--reverse", str(patch))  # the managed files are the template's again
    known = record.read(project)
    (project / "workflow/a.py").write_text("A = 3\n")
    record.write(project, replace(known, skip=("workflow/a.py",)))
    assert drift.diff(project).files == {}


# --- A project without a record --------------------------------------------------------------


def test_a_link_finds_the_version_by_the_files_and_keeps_what_is_recorded(
    project: Path, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "ALIKE", 2)  # a small project
    before = record.read(project)
    (project / record.FILE).write_text("{}\n")  # not one that can be read
    (project / "workflow/b.py").write_text("B = 3\n")
    printed = link.link(project, str(template), given_answers={"author": "Zoë = Q"})
    known = record.read(project)
    assert (known.commit, known.version) == (before.commit, "1.0.0")
    assert known.answers == {**before.answers, "__year": known.answers["__year"]}
    assert "5 of its 7 files are unchanged here" in printed[1]

    moved = template.rename(template.with_name("moved"))
    link.link(project, str(moved), given_answers={"ci": "gitlab"})
    after = record.read(project)
    assert (after.template, after.commit) == (moved.as_posix(), before.commit)
    assert after.answers == {**known.answers, "ci": "gitlab"}
    link.link(project, str(moved), version="1.1.0")
    assert record.read(project).version == "1.1.0"
    content = (project / record.FILE).read_bytes()
    for wrong in ({"ci": "make"}, {"what": "x"}):
        with pytest.raises(CommandError, match="--answer"):
            link.link(project, str(moved), given_answers=wrong)
    assert (project / record.FILE).read_bytes() == content


def test_this_projects_own_files_show_its_answers() -> None:
    known = record.read(ROOT).answers
    shown = answers_of(ROOT)
    assert known == {**known, **shown}  # nothing else than what was answered
    team = Path(__file__).parents[2] / "team/cookiecutter.json"  # in a fork
    asked = json.loads(team.read_text()).get("questions", {}) if team.exists() else {}
    assert known.keys() - shown.keys() <= {"project_name", *asked}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('entity: "my-team" # x', "my-team"),
        ("entity: null # your default account", ""),
        ("entity: plain", "plain"),
        ("other: x", None),
    ],
)
def test_a_value_is_read_of_one_line(line: str, value: str | None) -> None:
    assert yaml_value(f"a: 1\n{line}\n", "entity") == value


def test_doctor_names_a_package_that_is_not_the_recorded_one(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    assert [one.fine for one in doctor.look("template")] == [True]
    (project / "tides").rename(project / "waves")
    (found,) = doctor.look("template")
    assert not found.fine
    (command, url, *options) = shlex.split(found.fix.removeprefix("inv "))
    assert command == "template.link"
    done = run("link", url, f"--answer={options[1]}", project=project)
    assert done.returncode == 0, done.stderr
    assert [one.fine for one in doctor.look("template")] == [True]
    (project / record.FILE).unlink()
    (unknown,) = doctor.look("template")
    assert (unknown.fine, unknown.fix) == (True, "inv template.link URL")


# --- A pull request of an update -------------------------------------------------------------


@pytest.fixture
def updated(project: Path, tmp_path: Path) -> Callable[[], str]:
    """A branch of an update in the project, whose remote takes GitLab's options of a push."""
    remote = tmp_path / "gitlab.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(remote))
    git(remote, "config", "receive.advertisePushOptions", "true")
    hook = remote / "hooks/post-receive"
    hook.write_text('#!/bin/sh\nenv | grep ^GIT_PUSH_OPTION_ | sort >> "$PWD/options"\n')
    hook.chmod(0o755)
    git(project, "remote", "add", "origin", str(remote))
    git(project, "push", "--quiet", "origin", "main")
    git(project, "checkout", "--quiet", "-b", "template-update-1.1.0")
    (project / "workflow/a.py").write_text("A = 2\n")
    known = record.read(project)
    with open_source(known.template) as source:
        new = replace(known, commit=source.newest(), version="1.1.0")
    record.write(project, new)
    return lambda: commit(project, "Update")


def test_the_branch_of_an_update_is_pushed_and_its_merge_request_opened(
    project: Path, updated: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tip = updated()
    monkeypatch.setenv("CI_DEFAULT_BRANCH", "main")
    assert proposal.propose(project).endswith("its merge request is open")
    remote = tmp_path / "gitlab.git"
    assert git(remote, "rev-parse", "template-update-1.1.0") == tip
    options = (remote / "options").read_text()
    for option in ("create", "title=Update from the template: 1.1.0", "target=main"):
        assert f"=merge_request.{option}\n" in options

    # A week later nothing is newer: it stays.
    git(project, "commit", "--quiet", "--amend", "--no-edit", "--date=2020-01-01T00:00:00")
    assert "stays as it is" in proposal.propose(project)
    assert git(remote, "rev-parse", "template-update-1.1.0") == tip
    git(project, "checkout", "--quiet", "main")
    assert proposal.propose(project).startswith("nothing to propose")


def test_a_newer_update_takes_the_place_of_an_open_one_unless_others_committed_to_it(
    project: Path, updated: Callable[[], str], tmp_path: Path
) -> None:
    remote = tmp_path / "gitlab.git"

    def by_job() -> str:
        job = ("-c", f"user.name={branches.COMMITTER}")
        git(project, *job, "commit", "--quiet", "--amend", "--no-edit", "--reset-author")
        return git(project, "rev-parse", "HEAD")

    updated()
    first = by_job()
    proposal.propose(project)
    git(project, "push", "--quiet", "origin", "main:template-update-sub-1.0.0")  # of another

    def newer(version: str) -> str:
        git(project, "checkout", "--quiet", "-b", f"template-update-{version}", "main")
        known = record.read(project)
        record.write(project, replace(known, commit=version * 4, version=version))
        commit(project, f"Update to {version}")
        return by_job()

    second = newer("1.2.0")
    line = proposal.propose(project)
    assert line.startswith("template-update-1.2.0 is pushed as template-update-1.1.0, the earlier")
    assert git(remote, "rev-parse", "template-update-1.1.0") == second != first
    assert "title=Update from the template: 1.2.0" in (remote / "options").read_text()

    # Somebody has worked on it there: it stays, and no second one is beside it.
    write(project, {"mine.txt": "x\n"})
    theirs = commit(project, "Mine")
    git(project, "push", "--quiet", "origin", "HEAD:template-update-1.1.0")
    newer("1.3.0")
    assert proposal.propose(project) == (
        "template-update-1.3.0 is not pushed: the earlier template-update-1.1.0 is in origin"
        " already, with commits of others, and stays as it is: merge or delete it there"
    )
    heads = git(remote, "for-each-ref", "--format=%(refname:short)", "refs/heads").split()
    assert heads == ["main", "template-update-1.1.0", "template-update-sub-1.0.0"]
    assert git(remote, "rev-parse", "template-update-1.1.0") == theirs

    # Squashed into main, and its branch left behind: it holds nothing up.
    git(project, "checkout", "--quiet", "main")
    git(project, "merge", "--quiet", "--squash", theirs)
    commit(project, "Squashed")
    git(project, "checkout", "--quiet", "-b", "template-update-1.4.0")
    record.write(project, replace(record.read(project), commit="4" * 40, version="1.4.0"))
    last = commit(project, "Update to 1.4.0")
    assert proposal.propose(project).startswith("template-update-1.4.0 is pushed, ")
    assert git(remote, "rev-parse", "template-update-1.4.0") == last


def test_where_no_command_knows_the_host_the_branch_is_pushed(
    project: Path, updated: Callable[[], str], tmp_path: Path
) -> None:
    tip = updated()
    remote = (tmp_path / "gitlab.git").rename(tmp_path / "elsewhere.git")
    git(project, "remote", "set-url", "origin", str(remote))
    assert proposal.propose(project).endswith(" is pushed: open a pull request of it")
    assert git(remote, "rev-parse", "template-update-1.1.0") == tip


def test_a_pull_request_has_the_changelog_between_the_versions(
    project: Path, updated: Callable[[], str]
) -> None:
    updated()
    text = proposal.description(project)
    assert text.startswith("The template's version 1.1.0 (")
    assert text.endswith("## [1.1.0]\n\n- A is 2.")


@pytest.mark.parametrize("ci", ["GITHUB_ACTIONS", "GITLAB_CI"])
def test_without_a_token_one_line_names_the_setting(
    ci: str,
    project: Path,
    updated: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    updated()
    for name in ("GITHUB_ACTIONS", "GITLAB_CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv(ci, "true")
    hook = tmp_path / "gitlab.git/hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho You are not allowed to push >&2\nexit 1\n")
    hook.chmod(0o755)
    done = run("proposal", project=project)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "You are not allowed to push" in line
    assert "TEMPLATE_UPDATE_TOKEN" in line
    assert "Settings > " in line

    # Where the host is down, no setting is the reason.
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/digits.git"
    git(project, "remote", "set-url", "origin", address)
    done = run("proposal", project=project)
    (line,) = done.stderr.splitlines()
    assert line.startswith("template-update-1.1.0 cannot be pushed: git fetch: fatal: unable to")
    assert "onnect" in line  # "Connection refused", or "Failed to connect"
    assert "TEMPLATE_UPDATE_TOKEN" not in line
