"""What is written about the template, and its workflows, against the truth."""

from __future__ import annotations

import functools
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from baking import FOLDER, ROOT, bake, is_the_teams, questions, run_cli, template

README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COMMANDS = ["pip install uv && uv run inv demo", "pip install uv && uv run inv test"]
PYTHONS = ["3.11", "3.12", "3.13"]

# By their last part: put together only when the tests run, or this file would name them too.
REGISTRIES = {
    "org": ["anaconda", "deb.debian", "npmjs", "pypi", "pythonhosted"],
    "io": ["azurecr", "docker", "gcr", "ghcr", "nvcr", "quay"],
    "com": ["hub.docker", "mcr.microsoft"],
    "aws": ["public.ecr"],
    "dev": ["pkg"],
}


def table(text: str, head: str) -> list[list[str]]:
    """The cells of the rows below the table's head, which begins with `head`."""
    lines = iter(text.partition(f"| {head} |")[2].splitlines()[2:])
    rows = []
    while (line := next(lines, "")).startswith("|"):
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


@functools.cache
def tasks(folder: Path) -> dict[str, str]:
    """What `inv --list` says in a folder: the name of each task, and its one line."""
    listed = json.loads(run_cli("invoke", "--list", "--list-format=json", cwd=folder).stdout)
    help_texts = {task["name"]: task["help"] for task in listed["tasks"]}
    for group in listed["collections"]:
        for task in group["tasks"]:
            dotted = f"{group['name']}.{task['name']}"
            help_texts[group["name"] if task["name"] == group["default"] else dotted] = task["help"]
    return help_texts


def test_each_fault_of_the_table_has_its_test() -> None:
    faults = (ROOT / "tests/README.md").read_text(encoding="utf-8")
    rows = table(faults, "Fault")
    assert len(rows) > 10
    for *_, test in rows:
        match = re.fullmatch(r"`((?:workflow/)?\w+\.py)::(\w+)`", test)
        assert match, test
        assert f"\ndef {match[2]}(" in (ROOT / "tests" / match[1]).read_text("utf-8"), test


def test_the_table_of_questions_is_cookiecutter_json() -> None:
    everything = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    asked = {name: value for name, value in everything.items() if not name.startswith("_")}
    rows = table(README, "question")
    assert [row[0] for row in rows] == [f"`{name}`" for name in asked]
    for (name, value), (_, line, offered) in zip(asked.items(), rows, strict=True):
        prompt = everything["__prompts__"][name]
        assert line == (prompt["__prompt__"] if isinstance(prompt, dict) else prompt)
        if isinstance(value, list):
            assert offered == ", ".join(f"`{choice}`" for choice in value)
        elif "{" in value:
            used = re.findall(r"cookiecutter\.(\w+)", value)
            assert offered.startswith("from ")
            assert set(re.findall(r"`(\w+)`", offered)) == set(used)
        else:
            assert offered == (f"`{value}`" if value else "empty")


def test_the_two_commands_come_first_and_are_tasks() -> None:
    blocks = re.findall(r"```sh\n(.*?)\n```", README, re.DOTALL)
    assert blocks[:2] == COMMANDS
    assert {"demo", "test"} <= set(tasks(ROOT))


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_each_command_is_a_task_with_these_options(text: str) -> None:
    commands = re.findall(r"uv run inv (\w[\w.]*)((?: --\w[\w-]*)*)", text)
    assert commands
    for task, options in commands:
        assert task in tasks(ROOT)
        help_text = run_cli("invoke", "--help", task, cwd=ROOT).stdout if options else ""
        for option in options.split():
            assert re.search(rf"{option}\b", help_text), f"{task} {option}"


def test_links_lead_to_files() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("docs/*.md")]:
        for link in re.findall(r"\]\((?!https?:|#)([^)\s]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link.partition("#")[0]).exists(), f"{page.name}: {link}"


def test_contributing_names_only_what_is_there() -> None:
    paths = re.findall(
        r"`([\w{][\w{}.-]*/[\w{}./-]*|[\w-]+\.(?:py|md|json|lock|toml))`", CONTRIBUTING
    )
    assert len(paths) > 10
    folders = (ROOT, ROOT / FOLDER)
    assert [path for path in paths if not any((one / path).exists() for one in folders)] == []
    combinations = (ROOT / "tests/test_combinations.py").read_text(encoding="utf-8")
    for name in ("SUPPORTED", "UNSUPPORTED", "ONLY_FOR"):
        assert f"`{name}`" in CONTRIBUTING
        assert re.search(rf"^{name}\b", combinations, re.MULTILINE)


@pytest.mark.parametrize("ci", questions()["ci"])
def test_the_projects_readme_is_true(ci: str) -> None:
    # tests/workflow/test_readme.py tests more, in the projects' environment.
    project = bake(ci=ci, package_name="some_package")
    readme = project.read("README.md")
    tree = readme.partition("<!-- tree: begin -->\n```text\n")[2].partition("\n```")[0]
    lines = [re.split(r"\s{2,}", line) for line in tree.splitlines()]
    built = {"dvc.lock", "params.yaml", "runs/"}
    for folder, named in (
        (project.path, {line[0] for line in lines if line[0]} - built),
        (project.path / "some_package", {line[1] for line in lines if not line[0]}),
    ):
        names = {f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir()}
        there = {name for name in names if not is_the_teams(name)} - {"__init__.py", "__pycache__/"}
        assert {name for name in named if not is_the_teams(name)} == there
    listed = tasks(project.path)
    assert listed == {row[0][5:-1]: row[1] for row in table(project.read("docs/tasks.md"), "task")}
    assert {name: line for name, line in listed.items() if len(line) > 62} == {}


# The jobs that may write, and what.
WRITES = {
    "project/template-update.yml/update": {"contents": "write", "pull-requests": "write"},
}


@functools.cache
def workflows() -> dict[str, str]:
    """The workflows of the template and of a project."""
    folders = {"template": ROOT, "project": bake(ci="github").path}
    return {
        f"{owner}/{path.name}": path.read_text(encoding="utf-8")
        for owner, folder in folders.items()
        for path in sorted((folder / ".github" / "workflows").glob("*.yml"))
    }


def jobs() -> dict[str, dict[str, Any]]:
    """Each job, with the permissions that it has."""
    by_name = {}
    for name, text in workflows().items():
        workflow = yaml.safe_load(text)
        for job, content in workflow["jobs"].items():
            # Without either, GitHub gives what the repository's settings say.
            permissions = content.get("permissions", workflow.get("permissions", "not said"))
            by_name[f"{name}/{job}"] = {**content, "permissions": permissions}
    return by_name


def test_actions_are_pinned_by_hash_and_everywhere_the_same() -> None:
    pinned: dict[str, set[str]] = {}
    for name, text in workflows().items():
        for line in re.findall(r"^.*\buses:.*$", text, re.MULTILINE):
            match = re.search(r"uses: ([\w/-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)$", line)
            assert match, f"{name}: {line.strip()}"
            pinned.setdefault(match[1], set()).add(match[2])
    assert pinned
    assert {action: hashes for action, hashes in pinned.items() if len(hashes) > 1} == {}


def test_jobs_may_read_and_no_more_and_end() -> None:
    for name, job in jobs().items():
        if job["permissions"] == {"pull-requests": "write"}:
            assert not any("uses" in step for step in job["steps"]), f"{name} runs other code"
        else:
            allowed = WRITES.get(name, {"contents": "read"})
            assert job["permissions"] in ({}, allowed), name
        assert job["timeout-minutes"] <= 360, name
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name
            # What others wrote (a branch's name) must not become a part of a command.
            assert "${{" not in step.get("run", ""), name


def test_ci_runs_three_systems_and_every_python() -> None:
    matrix = jobs()["template/ci.yml/test"]["strategy"]["matrix"]
    assert {name.partition("-")[0] for name in matrix["system"]} == {"ubuntu", "macos", "windows"}
    assert matrix["python"] == PYTHONS == sorted(questions()["python_version"])


def test_the_gate_needs_every_other_job() -> None:
    ci = yaml.safe_load(workflows()["template/ci.yml"])["jobs"]
    gate = ci["gate"]
    assert gate["if"] == "always()"
    assert sorted(gate["needs"]) == sorted(set(ci) - {"gate"})
    assert gate["steps"][0]["run"].count("success") == len(gate["needs"])


def test_workflows_run_tasks_that_exist() -> None:
    project = bake(ci="github").path
    for name, job in jobs().items():
        folder = ROOT if name.startswith("template") else project
        for step in job["steps"]:
            for task in re.findall(r"uv run (?:--[\w-]+ )*inv (\w[\w.]*)", step.get("run", "")):
                where = project if "working-directory" in step else folder
                assert task in tasks(where), f"{name}: {task}"


def test_no_file_names_a_registry_of_packages_or_images() -> None:
    # A company's mirror must be all that it takes: uv, pip and Docker know their own default.
    hosts = [f"{name}.{last}" for last, names in REGISTRIES.items() for name in names]
    named = re.compile(rb"\b(%s)\b" % "|".join(map(re.escape, hosts)).encode())
    naming = [
        path.relative_to(template()).as_posix()
        for path in sorted(template().rglob("*"))
        if path.is_file() and path.suffix != ".lock" and named.search(path.read_bytes())
    ]
    assert naming == []


def test_the_license_is_the_one_of_pyproject_toml() -> None:
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License\n")
    assert re.search('^license = "MIT"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)


def test_one_version_is_that_of_the_template_its_changelog_and_the_workflow() -> None:
    version = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))["__version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d.*?)\]", changelog, re.MULTILINE)
    workflow = tomllib.loads(bake().read("workflow/pyproject.toml"))
    assert version == released[0] == workflow["project"]["version"]
