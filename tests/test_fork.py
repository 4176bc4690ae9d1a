"""A fork is a layer: whatever way a project comes of it, and whatever upstream does meanwhile."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from baking import FOLDER, ROOT, BakedProject, git, new_folder, run_cli, template_repository
from driving import UV
from test_generation import files
from workflow.errors import CommandError
from workflow.template.source import open_source

from fork import fleet, layer, questions, settings, upstream

TEAM = ROOT / "tests/example_team"
PROJECT = Path(FOLDER)
WHERE = "{{cookiecutter.project_slug}}"


def team_files(folder: Path = TEAM) -> dict[str, str]:
    """The files of a team's folder, by their paths from there."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in paths}


def clone_of(source: Path) -> Path:
    """A clone with an identity of its own."""
    clone = new_folder() / "fork"
    git(source, "clone", "--quiet", str(source), str(clone))
    for name, value in {"user.name": "Test", "user.email": "test@example.com"}.items():
        git(clone, "config", name, value)
    return clone


def newest() -> str:
    """The newest commit of upstream's: in a fork, the one that was merged last."""
    is_fork = (ROOT / "team").is_dir()
    return upstream.upstream(ROOT).commit if is_fork else git(ROOT, "rev-parse", "HEAD").strip()


@pytest.fixture(scope="module")
def theirs() -> Path:
    """Upstream, as it is now; in a fork, as it was when it was merged last."""
    if not (ROOT / "team").is_dir():
        return template_repository()
    repository = new_folder() / "template"
    with open_source(str(ROOT)) as source:
        source.archive(newest(), repository)
    git(repository, "init", "--quiet", "--initial-branch=main")
    commit(repository)
    return repository


@pytest.fixture(scope="module")
def started(theirs: Path) -> Path:
    """A fork of it by the example team; a test that changes it copies it."""
    fork = clone_of(theirs)
    upstream.start(fork, str(theirs), team_files())
    return fork


@pytest.fixture
def fork(started: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(started, new_folder() / "fork", symlinks=True))


@pytest.fixture(scope="module")
def mistaken(started: Path) -> Path:
    """The same for tests that leave it as it was."""
    return Path(shutil.copytree(started, new_folder() / "fork", symlinks=True))


@pytest.fixture
def changing(theirs: Path, fork: Path) -> Path:
    """Upstream of `fork`, to be changed."""
    copy = Path(shutil.copytree(theirs, new_folder() / "upstream"))
    record = json.loads((fork / upstream.RECORD).read_text("utf-8"))
    (fork / upstream.RECORD).write_text(json.dumps({**record, "url": str(copy)}, indent=2) + "\n")
    git(fork, "commit", "--quiet", "--all", "--message=Upstream moved")
    return copy


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8", newline="\n")


def commit(repository: Path, message: str = "Change") -> str:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", f"--message={message}")
    return git(repository, "rev-parse", "HEAD").strip()


def is_clean(repository: Path) -> bool:
    return git(repository, "status", "--porcelain") == ""


def settled(team: dict[str, dict[str, object]], **sections: dict[str, object]) -> str:
    """team/cookiecutter.json with keys replaced or added in its sections."""
    return json.dumps({**team, **{key: {**team[key], **new} for key, new in sections.items()}})


# --- Ways in ---------------------------------------------------------------------------------


def by_url(fork: Path, folder: Path) -> None:
    url = Path(shutil.copytree(fork, folder / "fork.git")).as_uri()
    run_cli("cookiecutter", "--no-input", url, "ci=github", cwd=folder).check_returncode()
    shutil.rmtree(folder / "fork.git")


def by_zip(fork: Path, folder: Path) -> None:
    archive = folder / "fork.zip"
    git(fork, "archive", "--prefix=fork/", f"--output={archive}", "HEAD")
    run_cli("cookiecutter", "--no-input", archive.name, "ci=github", cwd=folder).check_returncode()
    archive.unlink()


def by_cruft(fork: Path, folder: Path) -> None:
    answers = json.dumps({"ci": "github"})
    create = ("create", "--no-input", str(fork), "--extra-context", answers)
    run_cli("cruft", *create, cwd=folder).check_returncode()


def test_every_way_of_generation_gives_the_teams_project(started: Path) -> None:
    expected = new_folder()
    done = run_cli("cookiecutter", "--no-input", str(started), "ci=github", cwd=expected)
    done.check_returncode()
    expected_files = files(expected / "my-ml-project")
    expected_files.pop(".cruft.json")
    for way in (by_url, by_zip, by_cruft):
        folder = new_folder()
        way(started, folder)
        actual = files(folder / "my-ml-project")
        assert json.loads(actual.pop(".cruft.json")[0])["context"]["cookiecutter"]["ci"] == "gitlab"
        assert actual == expected_files, way.__name__
    # cookiecutter drops what is typed for a question that is not asked: so it is said what holds.
    assert "Fixed by your team: ci=gitlab, dvc_remote=s3, dvc_remote_url=s3://acme" in done.stdout


def test_fixed_questions_are_not_asked_and_the_teams_own_are(started: Path) -> None:
    asked = [name for name in cookiecutter_json(started) if not name.startswith("_")]
    assert "ci" not in asked
    assert asked.index("risk") < asked.index("license")
    typed = {"cost_center": "vision", "risk": "2"}
    folder = new_folder()
    lines = "\n".join(typed.get(name, "") for name in asked) + "\n"
    done = run_cli("cookiecutter", str(started), cwd=folder, typed=lines)
    assert done.returncode == 0, done.stderr
    assert f"[{len(asked)}/{len(asked)}]" in done.stdout
    assert "high  money, or worse" in done.stdout
    rules = (folder / "my-ml-project/docs/house-rules.md").read_text("utf-8")
    assert "paid for by vision. Risk: high." in rules


def cookiecutter_json(root: Path) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((root / "cookiecutter.json").read_text("utf-8"))
    return loaded


def test_the_hooks_check_what_is_fixed(fork: Path) -> None:
    path = fork / "team/cookiecutter.json"
    edit(path, "s3://acme-models/", "../acme-models/")
    upstream.lay_again(fork)
    with pytest.raises(
        CommandError,
        match=r"^team/cookiecutter.json: dvc_remote_url '../acme-mo.*"
        "does not start with s3://",
    ):
        upstream.try_out(fork)


# --- What is written in team/ ----------------------------------------------------------------

WRONG: list[tuple[str, str | dict[str, dict[str, object]], str]] = [
    ("cookiecutter.json", "{", "team/cookiecutter.json: line 1: Expecting property name"),
    ("cookiecutter.json", "[]", "team/cookiecutter.json: must be an object"),
    ("cookiecutter.json", '{"default": {}}', "default: is not one of defaults, fixed, questions"),
    ("cookiecutter.json", '{"fixed": "ci"}', "team/cookiecutter.json: fixed: must be an object"),
    ("cookiecutter.json", {"defaults": {"autor": "x"}}, "defaults.autor: .* question: author?"),
    (
        "cookiecutter.json",
        {"defaults": {"license": "GPL"}},
        "defaults.license: GPL is not a choice",
    ),
    (
        "cookiecutter.json",
        {"defaults": {"license": ["MIT", "x"]}},
        "license: x is not a choice: MIT",
    ),
    ("cookiecutter.json", {"defaults": {"license": []}}, "defaults.license: is an empty list"),
    ("cookiecutter.json", {"defaults": {"author": ["a"]}}, "author: must be text: .* no choices"),
    ("cookiecutter.json", {"defaults": {"author": 5}}, "defaults.author: must be text, not 5"),
    (
        "cookiecutter.json",
        {"fixed": {"ci": "jenkins"}},
        "fixed.ci: jenkins is not a choice: github",
    ),
    ("cookiecutter.json", {"fixed": {"author": "x"}}, "fixed.author: is in defaults too"),
    ("cookiecutter.json", {"fixed": {"email": "{{"}}, "fixed.email: is not valid Jinja"),
    ("cookiecutter.json", {"questions": {"ci": {"prompt": "?"}}}, "questions.ci: .* use defaults"),
    ("cookiecutter.json", {"questions": {"A b": {"prompt": "?"}}}, "A b: is not a name"),
    ("cookiecutter.json", {"questions": {"a": "x"}}, 'questions.a: must be {"prompt"'),
    ("cookiecutter.json", {"settings": {"proxy": "x"}}, "settings.proxy: there is no such setting"),
    (
        "cookiecutter.json",
        {"settings": {"ca_file": "x.pem"}},
        "ca_file: must be the path of a file",
    ),
    (
        "cookiecutter.json",
        {"settings": {"package_index": "https://me:pw@packages.example.com"}},
        "package_index: has a user or a password in it",
    ),
    ("remove.txt", "docs/none.md\n", "team/remove.txt: docs/none.md: projects have no such file"),
    ("remove.txt", "# a\n../secret\n", "team/remove.txt: line 2: ../secret: is not a path inside"),
    ("remove.txt", "/etc/passwd\n", "line 1: /etc/passwd: is not a path inside of a project"),
    (
        "remove.txt",
        "docs/house-rules.md\n",
        "remove.txt: docs/house-rules.md: is in team/files/ too",
    ),
    ("files/docs", "a file", "team/files/docs: a folder cannot be a file"),
    ("files/data/card.md", "x", "team/files/data/card.md: Git ignores it"),
    ("upstream.json", "{}", "team/upstream.json: must be"),
]


@pytest.mark.parametrize(("name", "content", "line"), WRONG, ids=[wrong[2][:50] for wrong in WRONG])
def test_a_mistake_in_team_is_one_line_and_nothing_is_written(
    mistaken: Path, name: str, content: str | dict[str, dict[str, object]], line: str
) -> None:
    path = mistaken / "team" / name
    if not isinstance(content, str):
        content = settled(json.loads(path.read_text("utf-8")), **content)
    if path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(exist_ok=True)
    path.write_text(content, encoding="utf-8")
    before = git(mistaken, "status", "--porcelain", "--untracked-files=all")
    with pytest.raises(CommandError, match=line) as raised:
        upstream.lay_again(mistaken)
    assert "\n" not in str(raised.value)
    assert git(mistaken, "status", "--porcelain", "--untracked-files=all") == before
    git(mistaken, "stash", "--quiet", "--include-untracked")


def test_a_link_in_files_is_refused(fork: Path) -> None:
    (fork / "team/files/hosts").symlink_to("/etc/hosts")
    with pytest.raises(CommandError, match="team/files/hosts: is a link: put the file itself"):
        upstream.lay_again(fork)


def test_laid_twice_is_laid_once_and_what_is_taken_out_is_upstreams_again(
    fork: Path, theirs: Path
) -> None:
    assert upstream.lay_again(fork) == []
    assert is_clean(fork)
    (fork / "team/remove.txt").unlink()
    (fork / "team/files/.editorconfig").unlink()
    (fork / "team/files/docs/house-rules.md").unlink()
    assert upstream.stale(fork) == (
        "team/ was edited and not laid: "
        f"{WHERE}/.devcontainer/devcontainer.json and 2 more: inv fork.lay"
    )
    names = [".devcontainer/devcontainer.json", ".editorconfig", "docs/house-rules.md"]
    assert upstream.lay_again(fork) == [f"{WHERE}/{name}" for name in names]
    for name in names[:2]:
        assert (fork / PROJECT / name).read_bytes() == (theirs / PROJECT / name).read_bytes()
    assert not (fork / PROJECT / names[2]).exists()
    (fork / "team/cookiecutter.json").write_text("{}")
    shutil.rmtree(fork / "team/files")
    upstream.lay_again(fork)
    commit(fork)
    changed = git(fork, "diff", "--name-only", upstream.upstream(fork).commit, "HEAD").split()
    assert changed == git(fork, "ls-files", "team").split()


def test_an_edit_by_hand_of_a_laid_file_stays_or_is_refused(fork: Path) -> None:
    readme = fork / "README.md"
    edit(readme, "# cookiecutter-ml-workflow", "# The template of Acme")
    edit(fork / "team/cookiecutter.json", '"wandb_entity": "acme"', '"wandb_entity": "other"')
    upstream.lay_again(fork)
    text = readme.read_text("utf-8")
    assert text.startswith("# The template of Acme")
    assert "| `other` |" in text
    commit(fork)
    edit(readme, "| `other` |", "| edited |")
    edit(fork / "team/cookiecutter.json", '"wandb_entity": "other"', '"wandb_entity": "third"')
    before = git(fork, "diff")
    with pytest.raises(CommandError, match=r"edited by hand, .* same lines: README.md: put the"):
        upstream.lay_again(fork)
    assert git(fork, "diff") == before


def test_a_file_of_the_team_replaces_the_one_that_an_answer_keeps(fork: Path) -> None:
    for name in (".gitlab-ci.yml", "docs/training.md"):
        (fork / "team/files" / name).write_text("# {{ cookiecutter.project_slug }}\n")
    upstream.lay_again(fork)
    text = cookiecutter_json(fork)
    (fork / "cookiecutter.json").write_text(json.dumps(layer.opened(text)))
    for framework in ("pytorch", "scikit-learn"):
        for ci in ("gitlab", "none"):
            folder = new_folder()
            answers = (f"ci={ci}", f"framework={framework}")
            run_cli("cookiecutter", "--no-input", str(fork), *answers, cwd=folder)
            project = folder / "my-ml-project"
            assert (project / ".gitlab-ci.yml").exists() == (ci == "gitlab")
            assert (project / "docs/training.md").read_text() == "# my-ml-project\n"


# --- Settings --------------------------------------------------------------------------------


def test_each_setting_is_a_variable_that_upstream_leaves_empty_or_changes_files(
    theirs: Path,
) -> None:
    everything = cookiecutter_json(theirs)
    for name, setting in settings.SETTINGS.items():
        if setting.variable and name != "year":
            assert everything[setting.variable] == "", name


def test_a_company_is_known_to_all_that_fetches(started: Path) -> None:
    company = json.loads((TEAM / "cookiecutter.json").read_text("utf-8"))["settings"]
    opened = Path(shutil.copytree(started, new_folder() / "fork"))
    text = json.dumps(layer.opened(cookiecutter_json(started)))
    (opened / "cookiecutter.json").write_text(text)
    projects = {}
    for ci in ("github", "gitlab"):
        folder = new_folder()
        run_cli("cookiecutter", "--no-input", str(opened), f"ci={ci}", cwd=folder)
        projects[ci] = BakedProject(folder / "my-ml-project")
    gitlab = projects["gitlab"].yaml(".gitlab-ci.yml")
    assert gitlab["default"]["image"] == f"{company['image_registry']}/python:3.12-slim"
    assert gitlab["default"]["tags"] == ["acme", "linux"]
    assert gitlab["variables"]["PIP_INDEX_URL"] == company["package_index"]
    workflows = sorted((projects["github"].path / ".github/workflows").iterdir())
    assert len(workflows) == 2
    github = [yaml.safe_load(path.read_text("utf-8")) for path in workflows]
    runners = [job["runs-on"] for workflow in github for job in workflow["jobs"].values()]
    assert all(labels == ["acme", "linux"] for labels in runners)
    for variables in (gitlab["variables"], *(workflow["env"] for workflow in github)):
        assert variables["SSL_CERT_FILE"] == variables["GIT_SSL_CAINFO"] == company["ca_file"]
    images = projects["gitlab"].read("docker/docker-bake.hcl")
    assert f'default = "{company["image_registry"]}/python:3.12-slim-trixie"' in images
    assert f'default = "{company["ca_file"]}"' in images
    compose = yaml.safe_load(projects["gitlab"].read("deploy/compose.yaml"))
    proxy = compose["services"]["proxy"]["image"]
    assert proxy == f"${{PROXY_IMAGE:-{company['image_registry']}/haproxy:3.0}}"
    for framework in ("pytorch", "keras-jax", "scikit-learn"):
        folder = new_folder()
        run_cli("cookiecutter", "--no-input", str(started), f"framework={framework}", cwd=folder)
        assert_locks_hold(folder / "my-ml-project")
    projects["github"].assert_parses()
    for command in (["check", "--no-cache"], ["format", "--no-cache", "--check", "--diff"]):
        done = projects["github"].run("ruff", *command, ".")
        assert done.returncode == 0, done.stdout


def assert_locks_hold(project: Path) -> None:
    """uv finds all locks up to date, with no index in reach."""
    for more in ((), ("--script", "workflow/monitoring/drift.py")):
        command = [UV, "lock", "--check", "--offline", *more]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_moved_lock_is_installed_from_the_companys_index_alone(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    public = make_index(tmp_path / "public", wheel, "files")
    company = make_index(tmp_path / "company", wheel, "mirror/packages")
    project = tmp_path / "project"
    project.mkdir()
    text = '[project]\nname = "x"\nversion = "0"\nrequires-python = ">=3.11"\n'
    text += 'dependencies = ["small"]\n'
    index = '[[tool.uv.index]]\nname = "team"\nurl = "{}/simple"\ndefault = true\n'

    def uv(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [UV, *command, "--no-cache"], cwd=project, capture_output=True, text=True, check=False
        )

    with serving(public) as address:
        (project / "pyproject.toml").write_text(text + index.format(address))
        assert uv("lock").returncode == 0
    lock = project / "uv.lock"
    with serving(company) as address:
        (project / "pyproject.toml").write_text(text + index.format(address))
        assert "needs to be updated" in uv("lock", "--check").stderr
        lock.write_text(
            settings.relocated(lock.read_text(), f"{address}/simple", f"{address}/mirror/packages")
        )
        done = uv("sync", "--locked")
        assert done.returncode == 0, done.stderr
        assert "small==1.0" in done.stderr


def make_wheel(folder: Path) -> Path:
    """The smallest package that there can be."""
    path = folder / "small-1.0-py3-none-any.whl"
    about = "small-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("small.py", "")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    return path


def make_index(folder: Path, wheel: Path, files: str) -> Path:
    """A package index as files: `simple`, and a folder with the packages."""
    (folder / files).mkdir(parents=True)
    shutil.copy(wheel, folder / files)
    page = folder / "simple/small/index.html"
    page.parent.mkdir(parents=True)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    page.write_text(f'<a href="/{files}/{wheel.name}#sha256={digest}">{wheel.name}</a>')
    return folder


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder; give its address."""
    handler = partial(QuietHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


# --- Upstream --------------------------------------------------------------------------------


def test_upstream_is_merged_where_the_team_changed_the_same_files(
    fork: Path, changing: Path
) -> None:
    edit(fork / "CONTRIBUTING.md", "# Contributing", "# Contributing to the template of Acme")
    commit(fork)
    project = changing / PROJECT
    edit(project / ".editorconfig", "root = true", "root = true # changed")
    edit(project / ".devcontainer/devcontainer.json", '"remoteUser"', '"containerUser"')
    edit(project / "tasks.py", "__all__", "NAME = 1\n__all__")
    edit(changing / "cookiecutter.json", '"Your Name"', '"Somebody"')
    edit(changing / "cookiecutter.json", '["github", "gitlab", "none"]', '["gitlab", "github"]')
    edit(changing / "CONTRIBUTING.md", "## Set up", "## Set it up")
    new = commit(changing)
    before = git(fork, "rev-parse", "HEAD").strip()
    done = upstream.follow(fork)
    assert (done.conflicts, done.problems) == ([], [])
    assert is_clean(fork)
    assert git(fork, "rev-parse", "HEAD^1", "HEAD^2").split() == [before, new]
    assert upstream.upstream(fork).commit == new
    assert upstream.stale(fork) is None
    assert "settings of Acme" in (fork / PROJECT / ".editorconfig").read_text("utf-8")
    assert not (fork / PROJECT / ".devcontainer").exists()
    text = (fork / PROJECT / "tasks.py").read_text("utf-8")
    assert text.startswith("# Copyright")
    assert "NAME = 1" in text
    text = (fork / "CONTRIBUTING.md").read_text("utf-8")
    assert text.startswith("# Contributing to the template of Acme")
    assert "## Set it up" in text
    assert cookiecutter_json(fork)["author"] == "Acme Research"
    assert upstream.follow(fork).new == new  # nothing to do


def test_a_conflict_with_an_own_edit_is_one_and_can_be_aborted(fork: Path, changing: Path) -> None:
    edit(fork / "CONTRIBUTING.md", "# Contributing", "# Contributing at Acme")
    before = commit(fork)
    edit(changing / "CONTRIBUTING.md", "# Contributing", "# To contribute")
    commit(changing)
    assert upstream.follow(fork).conflicts == ["CONTRIBUTING.md"]
    git(fork, "cherry-pick", "--abort")
    assert git(fork, "rev-parse", "HEAD").strip() == before
    assert is_clean(fork)


def test_what_upstream_no_longer_has_is_named_after_the_merge(fork: Path, changing: Path) -> None:
    shutil.rmtree(changing / PROJECT / ".devcontainer")
    edit(changing / "cookiecutter.json", '"wandb_entity"', '"entity"')
    commit(changing)
    done = upstream.follow(fork)
    assert done.conflicts == []
    assert len(done.problems) == 2
    assert "team/cookiecutter.json: defaults.wandb_entity: the template asks no" in done.problems[0]
    assert "team/remove.txt: .devcontainer: projects have no such file" in done.problems[1]
    assert is_clean(fork)
    assert upstream.stale(fork) == "; ".join(done.problems)


def test_what_stands_in_the_way_of_a_merge_is_one_line(fork: Path, changing: Path) -> None:
    (fork / "notes").write_text("mine")
    with pytest.raises(CommandError, match=r"^uncommitted: notes: commit first$"):
        upstream.follow(fork)
    (fork / "notes").unlink()
    (fork / "team/remove.txt").write_text("")
    commit(fork)
    with pytest.raises(CommandError, match=r"team/ was edited and not laid: .*: inv fork.lay"):
        upstream.follow(fork)
    upstream.lay_again(fork)
    commit(fork)
    shutil.rmtree(changing)
    with pytest.raises(CommandError, match=r"^upstream cannot be reached: "):
        upstream.follow(fork)
    assert is_clean(fork)


# --- A year of upstream ----------------------------------------------------------------------


@pytest.mark.parametrize("points", [3, pytest.param(30, marks=pytest.mark.weekly)])
@pytest.mark.slow  # it needs all of the history
def test_a_year_of_upstream_is_merged_without_a_conflict(points: int) -> None:
    # This repository's own history: the layer of the example team, and its tests, at each point.
    log = ("log", "--first-parent", "--reverse", "--format=%H")
    known = git(ROOT, *log, newest()).split()
    first, *_ = git(ROOT, *log, newest(), "--", f":(literal){WHERE}/.devcontainer").split()
    since = known[known.index(first) :]
    commits = [since[round(n * (len(since) - 1) / (points - 1))] for n in range(points)]
    fork = clone_of(ROOT)
    git(fork, "switch", "--quiet", "--force-create", "team", commits[0])
    upstream.start(fork, str(ROOT), team_files())
    run_team_tests(fork)
    for commit in commits[1:]:
        done = upstream.follow(fork, commit)
        assert (done.conflicts, done.problems) == ([], []), commit
        assert upstream.stale(fork) is None
        run_team_tests(fork)
    assert git(fork, "log", "--format=%P", "-1").split()[1] == commits[-1]


def run_team_tests(fork: Path) -> None:
    options = ("-q", "--rootdir=team", "-p", "no:cacheprovider", "team/tests")
    done = run_cli("pytest", *options, cwd=fork)
    assert done.returncode == 0, done.stdout


# --- Commands --------------------------------------------------------------------------------


def inv(fork: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_cli("invoke", *arguments, cwd=fork)


def test_inv_fork_starts_a_fork_in_a_clone(theirs: Path) -> None:
    fork = clone_of(theirs)
    typo = inv(fork, "fork", "--fix", "cii=gitlab")
    assert (typo.returncode, typo.stderr) == (
        1, "--fix cii=gitlab: there is no such question or setting: ci?\n",
    )  # fmt: skip
    bad = inv(fork, "fork", "--fix", "dvc_remote_url=s3://x")
    assert bad.returncode == 1
    assert "team/cookiecutter.json: dvc_remote_url 's3://x' is no local folder" in bad.stderr
    assert is_clean(fork)
    assert not (fork / "team").exists()

    settings = ("--default", "author=Acme", "--fix", "ci=gitlab", "--fix", "code_owners=@acme/ml")
    done = inv(fork, "fork", *settings)
    assert done.returncode == 0, done.stderr
    assert is_clean(fork)
    assert git(fork, "remote", "-v").startswith(f"upstream\t{theirs} (fetch)")
    again = inv(fork, "fork")
    assert (again.returncode, again.stderr) == (
        1, "team/ is there already: edit it, then inv fork.lay\n",
    )  # fmt: skip
    assert "up to date" in inv(fork, "upstream").stdout
    assert "nothing changed" in inv(fork, "fork.lay").stdout
    # The tests that it begins with are green, and run beside upstream's.
    command = ("pytest", "-q", "--override-ini=pythonpath=. tests", "team/tests")
    done = run_cli(*command, cwd=fork)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.weekly  # the index is asked about each package
def test_inv_lock_of_a_fork_locks_what_its_team_needs(theirs: Path) -> None:
    fork = clone_of(theirs)
    text = (fork / PROJECT / "pyproject.toml").read_text("utf-8")
    added = text.replace("dependencies = [\n", 'dependencies = [\n    "idna>=3",\n', 1)
    answers = json.dumps({"fixed": {"framework": "scikit-learn"}})
    files = {"cookiecutter.json": answers, "files/pyproject.toml": added}
    upstream.start(fork, str(theirs), files)
    done = inv(fork, "lock")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "uv sync" not in done.stdout
    assert upstream.stale(fork) is None
    folder = new_folder()
    run_cli("cookiecutter", "--no-input", str(fork), cwd=folder).check_returncode()
    project = folder / "my-ml-project"
    assert '{ name = "idna" },' in (project / "uv.lock").read_text("utf-8").split("[package.dev")[0]
    check = [UV, "lock", "--check", "--offline", "--project", str(project)]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0


def test_the_terminal_is_asked_what_a_company_sets_once(theirs: Path) -> None:
    typed = {
        "Who owns it": ["Acme"],
        "Continuous integration": ["gitlap!"],
        "one of github, gitlab, none": ["gitlab!"],
        "Package index, as": ["https://me:pw@x.example", "https://x.example/simple"],
    }
    asked = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        answers = next((lines for start, lines in typed.items() if prompt.startswith(start)), [""])
        return answers.pop(0)

    defaults, fixed = questions.ask(theirs, answer)
    assert defaults == {"author": "Acme"}
    assert fixed == {"ci": "gitlab", "package_index": "https://x.example/simple"}
    assert len(asked) == len(questions.ASKED) + len(settings.SETTINGS) + 2
    team = json.loads(questions.first_files(defaults, fixed)["cookiecutter.json"])
    assert team["fixed"] == {"ci": "gitlab"}
    assert team["settings"]["package_index"] == "https://x.example/simple"


# --- The fleet -------------------------------------------------------------------------------


def bare(repository: Path, target: Path) -> Path:
    """A bare remote of a repository."""
    git(repository, "clone", "--quiet", "--bare", str(repository), str(target))
    return target


@pytest.mark.slow
def test_a_fleet_is_updated_by_one_command_and_a_conflict_is_shown(
    fork: Path, tmp_path: Path
) -> None:
    remote = bare(fork, tmp_path / "fork.git")
    remotes = {}
    for name in ("first", "second", "third"):
        answers = (f"project_slug={name}-project", "framework=scikit-learn")
        url = remote.as_uri()
        run_cli("cookiecutter", "--no-input", url, *answers, cwd=tmp_path).check_returncode()
        project = tmp_path / f"{name}-project"
        git(project, "init", "--quiet", "--initial-branch=main")
        if name == "second":  # the same line as the template will
            edit(project / "AGENTS.md", "# ", "# What agents know of ")
        if name == "third":  # another line, and a managed file
            edit(project / "conf/config.yaml", "seed: ", "seed: 1")
            (project / "notes.md").write_text("Mine\n")
        commit(project)
        remotes[name] = bare(project, tmp_path / f"{name}.git")
    lines = [f'[{name}]\ngit = "{path.as_posix()}"' for name, path in remotes.items()]
    lines.append(f'[gone]\ngit = "{(tmp_path / "gone.git").as_uri()}"')
    (fork / "team/projects.toml").write_text("\n".join(lines))
    edit(fork / PROJECT / "AGENTS.md", "# ", "# Agents in ")
    commit(fork)
    git(fork, "push", "--quiet", str(remote), "HEAD")

    shown = inv(fork, "fleet.status", "--json")
    assert shown.returncode == 1  # one cannot be reached
    rows = {row["name"]: row for row in json.loads(shown.stdout)}
    assert [rows[name]["behind"] for name in remotes] == [True, True, True]
    assert [rows[name]["drift"] for name in remotes] == [0, 0, 0]
    assert rows["gone"]["problem"].startswith("cannot be reached: ")
    assert len(inv(fork, "fleet.status").stdout.splitlines()) == 4

    before = {name: git(path, "show-ref") for name, path in remotes.items()}
    dry = inv(fork, "fleet.update", "--json")
    assert dry.returncode == 1
    states = {row["name"]: row["state"] for row in json.loads(dry.stdout)}
    assert states == {
        "first": "would update",
        "second": "conflict",
        "third": "would update",
        "gone": "failed",
    }
    assert {name: git(path, "show-ref") for name, path in remotes.items()} == before

    done = inv(fork, "fleet.update", "--apply")
    assert done.returncode == 1
    assert re.search(r"^second +conflict +\S+ +AGENTS.md$", done.stdout, re.MULTILINE)
    assert re.search(r"^gone +failed +cannot be reached: ", done.stdout, re.MULTILINE)
    assert done.stderr == "next, in second: inv template.update\n"
    for name, path in remotes.items():
        heads = git(path, "for-each-ref", "--format=%(refname:short)", "refs/heads").split()
        (branch,) = [*(head for head in heads if head != "main"), *[""] * (name == "second")]
        if branch:
            assert "# Agents in" in git(path, "show", f"{branch}:AGENTS.md")
            assert "# Agents in" not in git(path, "show", "main:AGENTS.md")
    assert git(remotes["third"], "show", f"{branch}:notes.md") == "Mine\n"


def test_a_mistake_in_the_list_of_projects_is_one_line(mistaken: Path) -> None:
    path = mistaken / "team/projects.toml"
    for content, line in {
        "": r"projects.toml lists no project: write \[NAME\]",
        "[a": "team/projects.toml: Expected",
        "[a]\npath = 'x'": 'team/projects.toml: a: needs git = "ADDRESS"',
        "[a]\ngit = 'x'\nbrunch = 'y'": "team/projects.toml: a.brunch: is not one of git, branch",
        "['../a']\ngit = 'x'": "../a: is not a name",
    }.items():
        path.write_text(content)
        with pytest.raises(CommandError, match=line):
            fleet.projects(mistaken)
    path.unlink()
    with pytest.raises(CommandError, match=r"team/projects.toml is missing: write \[NAME\]"):
        fleet.projects(mistaken)
