"""The hooks: what they remove and print, and that they run wherever cookiecutter does."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import sys
from types import ModuleType

import pytest
from baking import FOLDER, ROOT, BakedProject, bake, is_the_teams, questions, run_cli, template

HOOKS = sorted((ROOT / "hooks").glob("*.py"))


def load(name: str) -> ModuleType:
    """Import a hook as it lies in the repository, not rendered."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "hooks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


post_gen = load("post_gen_project")
pre_gen = load("pre_gen_project")


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.stem)
def test_hook_is_python_3_10_and_imports_the_standard_library_only(hook):
    tree = ast.parse(hook.read_text(), feature_version=(3, 10))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert imported
    assert imported <= sys.stdlib_module_names


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.stem)
def test_jinja_in_a_hook_yields_only_hex(hook):
    tags = re.findall(r"\{[{%#].*?[}%#]\}", hook.read_text(), re.DOTALL)
    assert tags == ["{{ (cookiecutter | jsonify).encode().hex() }}"]


def test_each_name_with_a_condition_asks_for_an_answer_that_is_offered():
    offered = questions()
    names = {path.name for path in (template() / FOLDER).rglob("*") if " if " in path.name}
    assert names
    for variable, value in offered.items():
        if post_gen.LEFT_OUT in str(value):
            condition = r"cookiecutter\.(\w+)(?: [=!]= |\.startswith\()'([\w-]+)'\)?"
            match = re.search(rf"if {condition} else '\.left-out-\w+-'", value)
            assert match, variable
            assert any(answer.startswith(match[2]) for answer in offered[match[1]])
    for name in names:
        match = re.fullmatch(
            r"\{\{'[\w.-]+' if cookiecutter\.(\w+) == '([\w.-]+)' else '(.+?)'\}\}(\.\w+)?", name
        )
        assert match, name
        assert match[2] in offered[match[1]]
        assert match[3] == post_gen.LEFT_OUT


@pytest.mark.parametrize("option", ["--overwrite-if-exists", "--skip-if-file-exists"])
@pytest.mark.parametrize("ci", ["github", "gitlab", "none"])
def test_generation_into_a_folder_keeps_the_ci_that_the_user_has_there(tmp_path, ci, option):
    project = tmp_path / "my-ml-project"
    own = {
        ".github/workflows/mine.yml": "name: Mine\n",
        ".github/workflows/ci.yml": "name: My CI\n",
        ".github/CODEOWNERS": "* @me\n",
        ".gitlab-ci.yml": "mine: {script: make}\n",
        "notes.md": "Mine\n",
    }
    for name, text in own.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    options = ["--no-input", "--overwrite-if-exists", option, str(template()), f"ci={ci}"]
    done = run_cli("cookiecutter", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # With -f alone, files of the very names that this answer needs are the template's.
    files = {"github": {".github/workflows/ci.yml"}, "gitlab": {".gitlab-ci.yml"}, "none": set()}
    replaced = files[ci] if option == "--overwrite-if-exists" else set()
    for name, text in own.items():
        assert ((project / name).read_text() == text) == (name not in replaced), name
    generated = bake(ci=ci).files()
    assert BakedProject(project).files() == generated | set(own)


@pytest.mark.parametrize("option", ["--overwrite-if-exists", "--skip-if-file-exists"])
def test_generation_into_a_folder_keeps_what_the_user_has_of_another_framework(tmp_path, option):
    project = tmp_path / "my-ml-project"
    own = {
        "conf/optimizer/adam.yaml": "mine: true\n",
        "my_ml_project/data.py": "MINE = True\n",
    }
    for name, text in own.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    answers = ["framework=scikit-learn"]
    options = ["--no-input", "--overwrite-if-exists", option, str(template()), *answers]
    done = run_cli("cookiecutter", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {name: (project / name).read_text() for name in own} == own
    generated = bake(framework="scikit-learn").files()
    assert BakedProject(project).files() == generated | set(own)


def test_closing_text_names_the_next_commands_and_uv_only_where_it_is_missing():
    without = post_gen.next_commands("my-slug", has_uv=False)
    assert [line.split("#")[0].strip() for line in without.splitlines()[3:]] == [
        "cd my-slug",
        "pip install uv",
        "uv run inv setup",
        "uv run inv train",
        "uv run inv report",
    ]
    assert "pip install uv" not in post_gen.next_commands("my-slug", has_uv=True)
    assert without.isascii()


def test_generation_prints_the_closing_text_and_nothing_else():
    project = bake(project_slug="my-slug")
    expected = post_gen.next_commands("my-slug", has_uv=shutil.which("uv") is not None)
    assert project.printed == expected + "\n"


def test_no_package_can_take_the_name_of_a_folder_or_file_of_the_project():
    # Case does not count on every system; a module beside the package would be shadowed by it.
    paths = [path for path in (template() / FOLDER).iterdir() if not is_the_teams(path.name)]
    names = {path.name.removesuffix(".py").lower() for path in paths}
    names = {name for name in names if name.isidentifier()}
    assert names
    assert {name for name in names if not pre_gen.taken(name)} == set()


def test_block_of_shadowed_names_is_sorted_and_easy_to_replace():
    text = (ROOT / "hooks/pre_gen_project.py").read_text()
    blocks = re.findall(
        r'^# shadowed names: begin .*\nSHADOWED = """\n([^"]*)"""\.split\(\)\n'
        r"# shadowed names: end$",
        text,
        re.MULTILINE,
    )
    assert len(blocks) == 1
    assert blocks[0].split() == pre_gen.SHADOWED == sorted(set(pre_gen.SHADOWED))


def test_no_project_or_package_can_take_the_name_of_a_locked_distribution():
    project = bake(project_slug="some-project")
    locked = {package["name"] for package in project.toml("uv.lock")["package"]}
    assert len(locked) > 50
    names = {name.replace(".", "-") for name in locked}
    assert {name for name in names if not pre_gen.taken_anywhere(name)} == {"some-project"}
    assert {name for name in names if not pre_gen.taken(name.replace("-", "_"))} == {"some-project"}
