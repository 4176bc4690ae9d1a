"""Updates of a project from its template: small templates, made here, with a rule of each kind."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from workflow import monorepo
from workflow.errors import CommandError
from workflow.git import GitError
from workflow.paths import ROOT
from workflow.template import drift, rendering, update, uv_lock
from workflow.template.eject import eject
from workflow.template.owners import OWNERS
from workflow.template.record import Record, read, write
from workflow.template.source import open_source

SLUG = "{{cookiecutter.project_slug}}"
PACKAGE = "{{cookiecutter.package_name}}"
LINES = "".join(f"line {number}\n" for number in range(1, 21))
# The first version of the template.
FILES = {
    f"{SLUG}/README.md": "# {{cookiecutter.project_slug}}\n" + LINES,
    f"{SLUG}/.gitignore": "*.ignored\n/data/raw\n",
    f"{SLUG}/{PACKAGE}/__init__.py": "",
    f"{SLUG}/{PACKAGE}/model.py": "# of {{cookiecutter.package_name}}\n" + LINES,
    f"{SLUG}/{PACKAGE}/train.py": "from {{cookiecutter.package_name}} import model\n" + LINES,
    f"{SLUG}/conf/config.yaml": "lr: 0.1\n" + LINES,
    f"{SLUG}/conf/extra/one.yaml": "one: 1\n",
    f"{SLUG}/workflow/tool.py": "TOOL = 1\n" + LINES,
    f"{SLUG}/workflow/other.py": "OTHER = 1\n",
    f"{SLUG}/deploy/compose.yaml": "replicas: 1\n",
    f"{SLUG}/data/README.md": "data\n",
}
QUESTIONS = {"project_slug": "tiny", "package_name": "tiny_one", "color": ["red", "blue"]}


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class Template:
    """A template's repository."""

    path: Path
    questions: dict[str, object] = field(default_factory=lambda: dict(QUESTIONS))

    def release(self, version: str, files: Mapping[str, str | None], **questions: object) -> str:
        """Commit a version: files by name, None for one that is gone."""
        self.questions |= questions
        content = {**self.questions, "__version": version, "__year": "2026"}
        if not self.path.exists():
            self.path.mkdir(parents=True)
            git(self.path, "init", "--quiet", "--initial-branch=main")
        (self.path / "cookiecutter.json").write_text(json.dumps(content))
        for name, text in files.items():
            path = self.path / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, newline="\n")
        git(self.path, "add", "--all", "--force")
        git(self.path, "commit", "--quiet", f"--message=Version {version}")
        return git(self.path, "rev-parse", "HEAD").strip()


@dataclass
class Project:
    """A project of such a template, in Git."""

    path: Path

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.path / name
        text = path.read_bytes().decode()
        assert old in text
        path.write_text(text.replace(old, new, 1), newline="")

    def add(self, name: str, text: str = "mine\n") -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text, newline="\n")

    def commit(self) -> None:
        git(self.path, "add", "--all")
        git(self.path, "commit", "--quiet", "--message=Mine")

    def text(self, name: str) -> str:
        return (self.path / name).read_bytes().decode()

    def state(self) -> tuple[str, ...]:
        """All that an update may change, if it fails: HEAD, index, files, branches."""
        listed = sorted(p for p in self.path.rglob("*") if p.is_file() and ".git" not in p.parts)
        return (
            git(self.path, "rev-parse", "HEAD"),
            git(self.path, "rev-parse", "--abbrev-ref", "HEAD"),
            git(self.path, "status", "--porcelain"),
            git(self.path, "branch", "--list"),
            *(f"{path}: {path.read_bytes()!r}" for path in listed),
        )

    def update(self, to: str = "", tests: bool = False, **options) -> bool:
        return update.start(self.path, to, tests=tests, **options)

    def refused(self, **options) -> str:
        """The text of an update that is refused, and has touched nothing."""
        before = self.state()
        with pytest.raises((CommandError, GitError)) as caught:
            self.update(**options)
        assert self.state() == before
        return str(caught.value)


@pytest.fixture(autouse=True)
def user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's settings of Git, and no others."""
    settings = tmp_path_factory.mktemp("home") / "gitconfig"
    settings.write_text("[user]\nname = Zoe\nemail = zoe@example.com\n")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    return settings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("templates")


@pytest.fixture(autouse=True)
def _rendered_once(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each version of a template is rendered once with the same answers; what is tested follows."""
    real = rendering.rendering

    def once(source, commit: str, answers: Mapping[str, str], target: Path) -> rendering.Rendering:
        known = {name: answers[name] for name in source.questions(commit) if name in answers}
        key = json.dumps([str(source.repository), commit, sorted(known.items())])
        if key not in _RENDERED:
            _RENDERED[key] = real(source, commit, answers, tmp_path_factory.mktemp("rendered"))
        rendered = _RENDERED[key]
        return replace(
            rendered, project=Path(shutil.copytree(rendered.project, target / "project"))
        )

    monkeypatch.setattr(rendering, "rendering", once)


_RENDERED: dict[str, rendering.Rendering] = {}


@pytest.fixture(scope="module")
def template(folder: Path) -> Template:
    """Two versions: the second changes something of each owner."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Team")
            patch.setenv(f"GIT_{role}_EMAIL", "team@example.com")
        repository = Template(folder / "template")
        repository.release("1.0.0", FILES)
        changes = {
            f"{SLUG}/README.md": FILES[f"{SLUG}/README.md"].replace("line 20", "LINE 20"),
            f"{SLUG}/{PACKAGE}/model.py": FILES[f"{SLUG}/{PACKAGE}/model.py"] + "model 2\n",
            f"{SLUG}/conf/config.yaml": "lr: 0.2\n" + LINES,
            f"{SLUG}/conf/extra/two.yaml": "two: 2\n",
            f"{SLUG}/workflow/tool.py": "TOOL = 2\n" + LINES,
            f"{SLUG}/workflow/new.py": "NEW = 2\n",
            f"{SLUG}/deploy/compose.yaml": "replicas: 2\n",
            f"{SLUG}/deploy/proxy.cfg": "proxy\n",
            f"{SLUG}/data/README.md": "data, and more\n",
        }
        repository.release("1.1.0", changes, size=["small", "large"], name="{{cookiecutter.color}}")
    return repository


@pytest.fixture
def project(template: Template, tmp_path: Path) -> Project:
    """A project of version 1.0.0."""
    return make(template, tmp_path / "tiny")


def make(template: Template, path: Path, version: str = "1.0.0", at: str = "") -> Project:
    """Make a project, in Git; with `at` in that folder of a repository at `path`."""
    answers = {"project_slug": "tiny", "package_name": "tiny_one", "color": "blue"}
    with open_source(str(template.path)) as source:
        commit = source.resolve(version)
        path.mkdir()
        rendered = rendering.render(source, commit, answers, path / "rendered")
        shutil.copytree(rendered, path / at, dirs_exist_ok=True)
        shutil.rmtree(path / "rendered")
    write(path / at, Record(str(template.path), commit, version, answers))
    git(path, "init", "--quiet", "--initial-branch=main")
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message=Start")
    return Project(path / at)


def test_both_changes_are_kept_on_a_branch_in_one_commit_with_the_record(
    project: Project, template: Template, capsys: pytest.CaptureFixture[str]
) -> None:
    project.edit("README.md", "line 1\n", "our line 1\n")
    project.edit("tiny_one/model.py", "line 3\n", "our line 3\n")
    project.add("tiny_one/ours.py")
    project.add("data/README.md", "our data\n")
    project.commit()
    assert project.update()
    assert git(project.path, "branch", "--show-current") == "template-update-1.1.0\n"
    assert git(project.path, "log", "--format=%an %s", "main..") == (
        f"Zoe Update from the template: 1.1.0 ({read(project.path).commit[:7]})\n"
    )
    assert git(project.path, "status", "--porcelain") == ""
    readme = project.text("README.md")
    assert "our line 1\n" in readme
    assert "LINE 20\n" in readme
    assert "our line 3\n" in project.text("tiny_one/model.py")
    assert project.text("tiny_one/model.py").endswith("model 2\n")
    assert project.text("tiny_one/ours.py") == "mine\n"
    assert project.text("workflow/tool.py").startswith("TOOL = 2\n")
    assert project.text("workflow/new.py") == "NEW = 2\n"
    assert project.text("data/README.md") == "our data\n"
    record = read(project.path)
    assert (record.version, record.answers["color"], record.answers["size"]) == (
        "1.1.0",
        "blue",
        "small",
    )
    printed = capsys.readouterr().out
    assert "template-update-1.1.0: 9 files changed\n" in printed
    assert "  managed  4: deploy/compose.yaml, deploy/proxy.cfg, workflow/new.py" in printed
    assert "  merged   4: README.md, conf/config.yaml, conf/extra/two.yaml," in printed
    assert "new questions, answered by default: size=small, name=blue\n" in printed
    assert "next: git diff main..., git switch main && git merge template-update-1.1.0" in printed

    git(project.path, "switch", "--quiet", "main")
    git(project.path, "merge", "--quiet", "template-update-1.1.0")
    assert project.update()
    assert capsys.readouterr().out == f"up to date: 1.1.0 ({record.commit[:7]})\n"


def test_what_cannot_be_updated_is_one_line_and_nothing_is_touched(
    project: Project, tmp_path: Path
) -> None:
    path = project.path
    project.add("workflow/new.py", "untracked\n")
    assert project.refused().startswith(
        "files that Git does not track are where new ones would be: workflow/new.py: "
    )
    (path / ".git/info/exclude").write_text("new.py\n")  # Git itself would replace it now
    assert "workflow/new.py" in project.refused()
    (path / "workflow/new.py").unlink()

    project.edit("README.md", "line 1\n", "our line 1\n")
    assert (
        project.refused() == "there are uncommitted changes (README.md): git commit, or git stash"
    )
    git(path, "checkout", "--quiet", "README.md")

    git(path, "switch", "--quiet", "--create", "template-update-1.1.0")
    project.add("ours.txt")
    project.commit()
    git(path, "switch", "--quiet", "main")
    assert project.refused() == (
        "branch template-update-1.1.0 exists already: git merge template-update-1.1.0, or"
        " git branch -D template-update-1.1.0"
    )
    git(path, "merge", "--quiet", "--no-ff", "--no-commit", "template-update-1.1.0")
    assert project.refused() == "a merge is in progress: finish it, or git merge --abort"
    git(path, "merge", "--abort")
    git(path, "branch", "--quiet", "-D", "template-update-1.1.0")

    assert "version, tag or commit 9.0.0" in project.refused(to="9.0.0")
    assert project.refused(answers={"colour": "red"}).startswith(
        "--answer colour: the template asks no such question (it asks project_slug,"
    )
    assert "has no color 'pink' (it has red, blue)" in project.refused(answers={"color": "pink"})
    assert project.refused(drop=["workflow"]) == "--drop workflow: no managed file there is edited"

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        git(path, "config", "user.useConfigOnly", "true")
        assert project.refused().startswith("Git knows no name for the commit: git config")
        git(path, "config", "--unset", "user.useConfigOnly")

    record = read(path)
    write(path, Record(str(tmp_path / "gone"), record.commit, record.version, record.answers))
    git(path, "commit", "--quiet", "--all", "--message=Elsewhere")
    assert "inv template.link URL" in project.refused()
    git(path, "rm", "--quiet", ".cruft.json")
    git(path, "commit", "--quiet", "--message=Without a record")
    assert "inv template.link URL" in project.refused()
    write(path, record)
    assert ".cruft.json is in no commit" in project.refused()
    (path / ".cruft.json").unlink()
    shutil.rmtree(path / ".git")
    with pytest.raises(CommandError, match="is not in a Git repository: inv setup"):
        project.update()


def test_an_older_version_is_refused(template: Template, tmp_path: Path) -> None:
    assert make(template, tmp_path / "tiny", "1.1.0").refused(to="1.0.0") == (
        "version 1.0.0 of the template is older than the project's, 1.1.0: an update goes forward"
        " only"
    )


def test_a_detached_head_and_a_shallow_clone_are_updated(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project.add("ours.txt")
    project.commit()
    git(tmp_path, "clone", "--quiet", "--depth=1", project.path.as_uri(), "shallow")
    clone = Project(tmp_path / "shallow")
    git(clone.path, "checkout", "--quiet", "--detach")
    assert clone.update()
    assert clone.text("workflow/tool.py").startswith("TOOL = 2\n")
    assert git(clone.path, "log", "--format=%s", "-1").startswith("Update from the template")
    (_, _, command) = capsys.readouterr().out.strip().rpartition(", ")
    assert command.startswith("git switch --detach ")
    subprocess.run(command, shell=True, cwd=clone.path, capture_output=True, check=True)
    assert read(clone.path).version == "1.1.0"


@pytest.mark.usefixtures("user")
def test_settings_of_git_do_not_change_the_result(
    project: Project, user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.edit("README.md", "line 1\n", "our line 1\n")
    project.add(".gitattributes", "README.md merge=ours\n*.yaml merge=union\n")
    project.commit()
    plain = Project(tmp_path / "plain")
    shutil.copytree(project.path, plain.path)
    assert plain.update()
    expected = git(plain.path, "rev-parse", "HEAD^{tree}")

    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "prepare-commit-msg", "commit-msg", "post-checkout"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    with user.open("a") as file:
        file.write(
            f"[core]\nautocrlf = true\nsafecrlf = true\nhooksPath = {hooks}\neditor = false\n"
            "[commit]\ngpgSign = true\n[rerere]\nenabled = true\nautoUpdate = true\n"
            '[merge]\ndefault = binary\nrenames = false\n[merge "ours"]\ndriver = true\n'
            "[diff]\nrenames = false\nexternal = false\nnoprefix = true\n"
            "[status]\nshowUntrackedFiles = all\n[branch]\nautoSetupMerge = always\n"
            "[color]\nui = always\n"
        )
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    assert project.update()
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.delenv(name)
    assert git(project.path, "rev-parse", "HEAD^{tree}") == expected
    assert "LINE 20" in project.text("README.md")


def test_an_edited_managed_file_stops_the_update_until_it_is_kept_or_dropped(
    project: Project,
) -> None:
    project.edit("workflow/tool.py", "line 1\n", "our line 1\n")
    project.edit("deploy/compose.yaml", "1", "7")
    project.add("deploy/ours.yaml")
    project.commit()
    lines = project.refused().splitlines()
    assert lines[1:3] == ["    deploy/compose.yaml", "    workflow/tool.py"]
    assert "inv template.eject PATH" in lines[3]
    assert "inv template.update --drop PATH" in lines[4]

    eject(project.path, "deploy/compose.yaml")
    project.commit()
    assert project.update(drop=["workflow/"])
    assert project.text("deploy/compose.yaml") == "replicas: 7\n"
    assert project.text("deploy/ours.yaml") == "mine\n"
    assert project.text("deploy/proxy.cfg") == "proxy\n"
    assert project.text("workflow/tool.py") == "TOOL = 2\n" + LINES
    assert read(project.path).skip == ("deploy/compose.yaml",)


def test_only_what_is_there_can_be_ejected(project: Project) -> None:
    for path, why in (
        ("nothing", "does not exist"),
        ("../elsewhere", "is not in the project"),
        ("data", "is the project's own already"),
    ):
        with pytest.raises(CommandError, match=why):
            eject(project.path, path)
    assert read(project.path).skip == ()
    eject(project.path, "workflow/")
    eject(project.path, "workflow")
    assert read(project.path).skip == ("workflow",)


def test_what_was_deleted_stays_deleted(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    git(project.path, "rm", "--quiet", "-r", "deploy", "conf/config.yaml", "workflow/tool.py")
    project.commit()
    assert project.update()
    assert not (project.path / "deploy").exists()
    assert not (project.path / "conf/config.yaml").exists()
    assert not (project.path / "workflow/tool.py").exists()
    assert project.text("workflow/new.py") == "NEW = 2\n"
    assert "deleted here, so left out: conf/config.yaml, deploy/" in capsys.readouterr().out


def test_a_package_that_was_renamed_by_hand_is_updated_under_its_name(project: Project) -> None:
    git(project.path, "mv", "tiny_one", "vision")
    for name in ("model", "train"):
        project.edit(f"vision/{name}.py", "tiny_one", "vision")
    project.edit("vision/model.py", "line 5\n", "our line 5\n")
    project.commit()
    assert project.update()
    assert not (project.path / "tiny_one").exists()
    assert "our line 5\n" in project.text("vision/model.py")
    assert project.text("vision/model.py").startswith("# of vision\n")
    assert project.text("vision/model.py").endswith("model 2\n")
    assert read(project.path).answers["package_name"] == "vision"


def test_a_conflict_is_told_and_aborted_without_a_trace(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.edit("conf/config.yaml", "lr: 0.1", "lr: 0.7")
    project.add("untracked", "untracked\n")
    git(project.path, "add", "conf")
    git(project.path, "commit", "--quiet", "--message=Mine")
    before = project.state()
    assert not project.update()
    printed = capsys.readouterr().out
    assert "    conf/config.yaml\n" in printed
    assert "inv template.update --continue" in printed
    assert "<<<<<<<" in project.text("conf/config.yaml")
    for command in (project.update, lambda: drift.check(project.path)):
        with pytest.raises(CommandError, match="an update is under way on template-update-"):
            command()
    update.abort(project.path)
    assert project.state() == before
    with pytest.raises(CommandError, match="no update is under way"):
        update.abort(project.path)
    assert not project.update()  # and again from the start


def test_a_conflict_in_what_inv_reads_is_aborted_without_inv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = Template(tmp_path / "template")
    tasks = f"{SLUG}/tasks.py"
    template.release("1.0.0", {tasks: "A = 1\n", f"{SLUG}/workflow/tool.py": "TOOL = 1\n"})
    template.release("1.1.0", {tasks: "A = 2\n"})
    project = make(template, tmp_path / "tiny")
    project.add("tasks.py", "A = 3\n")
    project.commit()
    before = project.state()
    assert not project.update()
    (*_, command) = capsys.readouterr().out.strip().split(", or ")
    assert command == "uv run --no-project python -m workflow.template.update --abort"
    module = command.split()[4:]
    subprocess.run(
        [sys.executable, *module, f"--project={project.path}"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    assert project.state() == before


@pytest.mark.parametrize("how", ["ours", "git"])
def test_a_conflict_that_is_resolved_is_continued(project: Project, how: str) -> None:
    project.edit("conf/config.yaml", "lr: 0.1", "lr: 0.7")
    project.commit()
    assert not project.update()
    assert not update.resume(project.path)  # nothing is resolved yet
    git(project.path, "add", "conf")
    assert not update.resume(project.path)  # the markers are in it
    project.add("conf/config.yaml", "lr: 0.7\n" + LINES)
    git(project.path, "add", "conf")
    if how == "git":
        git(project.path, "-c", "core.editor=true", "cherry-pick", "--continue")
    assert update.resume(project.path)
    assert git(project.path, "log", "--format=%s", "main..").count("\n") == 1
    assert git(project.path, "status", "--porcelain") == ""
    assert read(project.path).version == "1.1.0"
    assert project.text("conf/config.yaml").startswith("lr: 0.7\n")


def test_other_answers_alone_are_an_update_too(template: Template, tmp_path: Path) -> None:
    project = make(template, tmp_path / "tiny", "1.1.0")
    assert project.update(answers={"package_name": "two", "size": "large"})
    assert project.text("two/model.py").startswith("# of two\n")
    assert not (project.path / "tiny_one").exists()
    assert read(project.path).answers["size"] == "large"


def test_a_project_in_a_folder_of_a_repository_is_updated_there(
    template: Template, tmp_path: Path
) -> None:
    project = make(template, tmp_path / "many", at="projects/one")
    (tmp_path / "many/workflow").mkdir()
    (tmp_path / "many/workflow/tool.py").write_text("of another one\n")
    project.edit("README.md", "line 1\n", "our line 1\n")
    git(tmp_path / "many", "add", "--all")
    git(tmp_path / "many", "commit", "--quiet", "--message=Mine")
    assert project.update()
    changed = git(tmp_path / "many", "diff", "--name-only", "main", "HEAD").split()
    assert len(changed) == 9
    assert all(name.startswith("projects/one/") for name in changed)
    assert "our line 1\n" in project.text("README.md")
    branch = "template-update-projects-one-1.1.0\n"
    assert git(project.path, "branch", "--show-current") == branch


def as_it_is(text: str) -> str:
    """A file of a template of which nothing is rendered."""
    return f"{{% raw %}}{text}{{% endraw %}}"


def test_what_it_has_at_the_top_of_the_repository_is_written_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("__init__", "errors", "files", "git", "monorepo", "paths", "repository")
    code = {f"workflow/{name}.py": (ROOT / f"workflow/{name}.py").read_text() for name in names}
    ci = (ROOT / monorepo.WORKFLOW).read_text()
    pyproject = '[project]\nname = "tiny"\nversion = "0"\nrequires-python = ">=3.11"\n'
    files = {**code, "pyproject.toml": pyproject, "dvc.yaml": "stages: {}\n"}
    files[".gitignore"] = "__pycache__/\n"
    files[monorepo.WORKFLOW.as_posix()] = ci
    template = Template(folder / "several")
    template.release("1.0.0", FILES | {f"{SLUG}/{x}": as_it_is(text) for x, text in files.items()})
    newer = as_it_is(ci.replace("timeout-minutes: 20", "timeout-minutes: 21"))
    template.release("1.1.0", {f"{SLUG}/{monorepo.WORKFLOW.as_posix()}": newer})
    project = make(template, tmp_path / "shop", at="models/tiny")
    (top,) = monorepo.join(project.path)
    git(tmp_path / "shop", "add", "--all")
    git(tmp_path / "shop", "commit", "--quiet", "--message=Joined")
    monkeypatch.setenv("UV_NO_SYNC", "1")
    monkeypatch.setenv("UV_PROJECT_ENVIRONMENT", sys.prefix)
    assert "timeout-minutes: 20" in top.read_text()
    assert project.update()
    assert "timeout-minutes: 21" in top.read_text()
    changed = git(top.parent, "diff", "--name-only", "main", "HEAD").split()
    assert changed == [
        ".github/workflows/models-tiny.yml",
        "models/tiny/.cruft.json",
        "models/tiny/.github/workflows/ci.yml",
    ]
    assert git(top.parent, "status", "--porcelain") == ""


def test_files_with_the_line_ends_of_windows_keep_them_without_a_conflict(
    project: Project,
) -> None:
    for name in ("README.md", "conf/config.yaml"):
        project.add(name, project.text(name).replace("\n", "\r\n"))
    project.edit("README.md", "line 1\r\n", "our line 1\r\n")
    project.commit()
    assert project.update()
    for name, expected in (("README.md", "LINE 20\r\n"), ("conf/config.yaml", "lr: 0.2\r\n")):
        assert expected in project.text(name)
        assert "\n" not in project.text(name).replace("\r\n", "")
    assert "our line 1\r\n" in project.text("README.md")


MIGRATION = '''
"""Carry something over."""
from pathlib import Path
import sys

VERSION = "{version}"
path = Path(sys.argv[1]) / "ran.txt"
if {fails} and not (Path(sys.argv[1]) / "allowed").exists():
    raise SystemExit("it is not allowed")
text = path.read_text() if path.exists() else ""
if "{version}" not in text:
    path.write_text(text + "{version}\\n")
print("wrote ran.txt")
'''


def test_migrations_of_the_versions_between_run_once_and_in_order(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = Template(folder / "migrated")
    template.release("0.1.0", FILES)
    # Every one is in the newest version; files move in 1.0.0 only.
    moved = {f"{SLUG}/{PACKAGE}/train.py": None, f"{SLUG}/workflow/train.py": "moved\n" + LINES}
    template.release("0.2.0", {f"{SLUG}/two.txt": "2\n"})
    template.release("1.0.0", moved)
    template.release("1.9.0", {f"{SLUG}/nine.txt": "9\n"})
    versions = ("0.1.0", "0.2.0", "1.0.0", "1.9.0", "1.10.0", "2.0.0")
    scripts = {
        f"migrations/m{number}.py": MIGRATION.format(version=version, fails=version == "1.10.0")
        for number, version in enumerate(reversed(versions))
    }
    template.release("1.10.0", {**scripts, f"{SLUG}/ten.txt": "10\n"})
    project = make(template, tmp_path / "tiny", "0.1.0")
    project.edit("tiny_one/train.py", "line 9\n", "our line 9\n")
    project.commit()
    with pytest.raises(CommandError, match="it is not allowed; then inv template"):
        project.update()
    project.add("allowed", "")
    assert update.resume(project.path)
    assert project.text("ran.txt").split() == ["0.2.0", "1.0.0", "1.9.0", "1.10.0"]
    assert "our line 9\n" in project.text("workflow/train.py")
    subjects = git(project.path, "log", "--reverse", "--format=%s", "main..").splitlines()
    assert [subject.split()[4] for subject in subjects] == ["0.2.0", "1.0.0", "1.10.0"]
    assert git(project.path, "status", "--porcelain") == "?? allowed\n"
    assert "  migration m1: wrote ran.txt\n" in capsys.readouterr().out


TASKS = """
from invoke import task

@task
def check(context, fix=False):
    open("fixed.txt", "w").write("fixed\\n")

@task
def test(context):
    raise SystemExit(open("result.txt").read().strip() == "fail")
"""


def test_checks_and_tests_of_the_merged_project_decide_the_exit_code(
    folder: Path, tmp_path: Path
) -> None:
    template = Template(folder / "checked")
    pyproject = '[project]\nname = "tiny"\nversion = "0"\nrequires-python = ">=3.11"\n'
    template.release("1.0.0", {**FILES, f"{SLUG}/pyproject.toml": pyproject})
    files = {"tasks.py": TASKS, "result.txt": "fail\n", "fixed.txt": "no\n"}
    template.release("1.1.0", {f"{SLUG}/{name}": text for name, text in files.items()})
    project = make(template, tmp_path / "tiny")
    # The task's environment is this one: nothing is installed.
    variables = {"UV_NO_SYNC": "1", "UV_PROJECT_ENVIRONMENT": sys.prefix}
    root = Path(update.__file__).parents[2]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "workflow.template.update", "--project", str(project.path)]
        return subprocess.run(
            [*command, *arguments],
            cwd=root,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    failed = run()
    assert failed.returncode == 1, failed.stderr
    assert failed.stdout.splitlines()[-1] == (
        "inv check or inv test failed: fix it here and commit, then inv template.update --continue;"
        " or inv template.update --abort"
    )
    subjects = git(project.path, "log", "--format=%s", "main..").splitlines()
    assert subjects[0] == "inv check --fix after the update"
    project.add("result.txt", "fine\n")
    project.commit()
    passed = run("--continue")
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "git merge template-update-1.1.0" in passed.stdout.splitlines()[-1]
    assert run("--abort").stderr == "no update is under way\n"


def test_ctrl_c_during_the_tests_is_one_line_that_says_how_to_continue(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(place: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(update, "check", check)
    monkeypatch.setattr(sys, "argv", ["update", f"--project={project.path}"])
    with pytest.raises(SystemExit) as ended:
        update.main()
    assert str(ended.value) == (
        "interrupted, on template-update-1.1.0: inv template.update --continue, or inv"
        " template.update --abort"
    )
    assert update.resume(project.path, tests=False)


def wheel(folder: Path, name: str, version: str, needs: str = "") -> None:
    """Write a package without a module."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}"
        file.writestr(f"{info}/METADATA", metadata)
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", "")


def test_the_lock_is_solved_again_and_versions_of_the_project_stay(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    packages = folder / "packages"
    for name in ("apple", "berry", "cherry", "date"):
        for version in ("1.0", "2.0", "3.0"):
            wheel(packages, name, version)
    wheel(packages, "own", "1.0", "elder")
    for version in ("1.0", "2.0"):
        wheel(packages, "elder", version)

    def pyproject(*needs: str) -> str:
        lines = "".join(f'    "{need}",\n' for need in needs)
        return (
            '[project]\nname = "tiny"\nversion = "0"\nrequires-python = ">=3.11"\n'
            f"dependencies = [\n{lines}]\n\n[tool.uv]\nno-index = true\n"
            f'find-links = ["{packages.as_posix()}"]\n'
        )

    def lock(text: str, *options: str) -> str:
        work = tmp_path / "work"
        work.mkdir(exist_ok=True)
        (work / "pyproject.toml").write_text(text)
        (work / "uv.lock").unlink(missing_ok=True)
        subprocess.run(["uv", "lock", *options], cwd=work, check=True, capture_output=True)
        return (work / "uv.lock").read_text()

    def pinned(**wanted: str) -> list[str]:
        return [f"--upgrade-package={name}=={version}" for name, version in wanted.items()]

    old = pyproject("apple>=1", "berry>=1", "cherry>=1", "date>=1")
    new = pyproject("apple>=1", "berry>=1,<3", "cherry>=1", "date>=2")
    template = Template(folder / "locked")
    ones = pinned(apple="1.0", berry="1.0", cherry="1.0", date="1.0")
    template.release(
        "1.0.0",
        {**FILES, f"{SLUG}/pyproject.toml": old, f"{SLUG}/uv.lock": lock(old, *ones)},
    )
    newer = pinned(apple="2.0", berry="2.0", cherry="3.0", date="2.0")
    template.release("1.1.0", {f"{SLUG}/pyproject.toml": new, f"{SLUG}/uv.lock": lock(new, *newer)})
    project = make(template, tmp_path / "tiny")
    # Raised beyond the template's; beyond what it allows now; less than the template; its own.
    project.edit("pyproject.toml", '    "apple>=1",\n', '    "own>=1",\n    "apple>=1",\n')
    raised = pinned(apple="3.0", berry="3.0", cherry="2.0", date="1.0", elder="1.0")
    subprocess.run(["uv", "lock", "-q", *raised], cwd=project.path, check=True)
    project.commit()
    monkeypatch.setenv("UV_FROZEN", "1")  # would keep uv from solving anything
    monkeypatch.setenv("UV_RESOLUTION", "lowest")
    assert project.update()
    assert uv_lock.versions(project.text("uv.lock")) == {
        "apple": "3.0",
        "berry": "2.0",
        "cherry": "3.0",
        "date": "2.0",
        "own": "1.0",
        "elder": "1.0",
    }
    assert "versions that pyproject.toml no longer allows, so they changed: berry" in (
        capsys.readouterr().out
    )
    monkeypatch.delenv("UV_FROZEN")
    monkeypatch.delenv("UV_RESOLUTION")
    subprocess.run(["uv", "lock", "--check"], cwd=project.path, check=True)
    assert git(project.path, "status", "--porcelain") == ""


def test_owners_are_those_of_agents_md() -> None:
    text = (ROOT / "AGENTS.md").read_text("utf-8")
    block = text.partition("<!-- owners: begin -->")[2].partition("<!-- owners: end -->")[0]
    rows = [line.split("|") for line in block.strip().splitlines()[2:]]
    shown = {path: row[2].strip() for row in rows for path in re.findall(r"`(.+?)`", row[1])}
    shown |= dict(re.findall(r"\(`(\S+)` is (\w+):", block))
    assert {path: shown[path] for path in OWNERS} == OWNERS
    assert {who for path, who in shown.items() if path not in OWNERS} == {"merged"}
