"""Lay what a team's folder says over a folder with upstream's files."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fork import PROJECT, settings
from fork.team import FILES, QUESTIONS, REMOVED, Team, Value, unknown

# Of a question that is not asked, or offers less: what upstream asks. cookiecutter copies it.
UPSTREAM = "_upstream"
ANSWERED = "__fixed_"
# How names of files in the template begin, or are given, that only some answers keep.
MARKS = re.compile(r"\{\{\s*cookiecutter\.__\w+\s*\}\}|\{\{'([^']+)' if [^}]+\}\}")


def lay(root: Path, team: Team) -> list[str]:
    """Lay a team's folder over upstream's files, which must be as upstream has them.

    Returns:
        What could not be laid, a line each with file and key: upstream no longer has it.
    """
    problems = _lay_questions(root, team)
    project = root / PROJECT
    for name in team.removed:
        paths = matching(project, name)
        if not paths:
            problems.append(f"{REMOVED}: {name}: projects have no such file or folder")
        for path in paths:
            _remove(path, project)
    settings.change_files(project, team.settings)
    for name, source in team.files.items():
        targets = matching(project, name) or [project / name]
        for target in targets:
            if target.is_dir() or any(parent.is_file() for parent in target.parents):
                problems.append(f"{FILES}/{name}: a folder cannot be a file, nor a file a folder")
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return problems


def name_in_project(name: str) -> str:
    """Return what a file of the template is called in a project that has it."""
    return MARKS.sub(lambda match: match[1] or "", name)


def matching(project: Path, name: str) -> list[Path]:
    """Return the files or folders of the template that become `name` in some project."""
    exact = project / name
    if exact.exists():
        return [exact]
    paths = sorted(project.rglob("*"))
    return [path for path in paths if name_in_project(path.relative_to(project).as_posix()) == name]


def opened(questions: Mapping[str, Any]) -> dict[str, Any]:
    """Return cookiecutter.json with every question asked again and every choice offered.

    The team's answers are the defaults: so a test can give each answer.
    """
    upstream = questions.get(UPSTREAM, {})
    content: dict[str, Any] = {}
    for name, value in questions.items():
        question = name.removeprefix(ANSWERED)
        if name == "__prompts__":
            content[name] = {**value, **upstream.get("__prompts__", {})}
        elif question not in upstream:
            content[name] = value
        elif isinstance(upstream[question], list):
            first = value if isinstance(value, list) else [_answer(value)]
            content[question] = [*first, *(one for one in upstream[question] if one not in first)]
        else:
            content[question] = _where_it_fits(_answer(value), upstream[question], content)
    content.pop(UPSTREAM, None)
    lines = content["__prompts__"]
    content["__prompts__"] = {name: lines[name] for name in content if not name.startswith("_")}
    return content


def _lay_questions(root: Path, team: Team) -> list[str]:
    path = root / "cookiecutter.json"
    upstream: dict[str, Any] = json.loads(path.read_text("utf-8"))
    problems, replaced = [], {}
    questions = {name: value for name, value in upstream.items() if not name.startswith("_")}
    changed: dict[str, Any] = {}
    for key, answers in (("defaults", team.defaults), ("fixed", team.fixed)):
        for name, value in answers.items():
            if problem := _problem(name, value, questions):
                problems.append(f"{QUESTIONS}: {key}.{name}: {problem}")
            elif key == "fixed":
                changed[name] = (f"{ANSWERED}{name}", _fixed(name, str(value)))
                replaced[name] = upstream[name]
            else:
                changed[name] = (name, _default(value, questions[name]))
                if isinstance(value, list):
                    replaced[name] = upstream[name]
    prompts: dict[str, Any] = upstream["__prompts__"]
    hidden = {name: prompts[name] for name in replaced if name in prompts}
    added = {}
    for name, question in team.questions.items():
        if name in upstream:
            problems.append(f"{QUESTIONS}: questions.{name}: the template asks that: use defaults")
        else:
            added[name] = question
    content: dict[str, Any] = {}
    choices = next((name for name, value in questions.items() if isinstance(value, list)), "")
    private = settings.variables(team.settings)
    for name, value in upstream.items():
        if name == choices:  # those before it say what the project is: all others can use these
            content.update({one: question.value for one, question in added.items()})
        new, laid = changed.get(name, (name, private.pop(name, value)))
        if new == name in changed and isinstance(laid, str):
            laid = _where_it_fits(laid, value, content)
        content[new] = laid
    content = {**content, **private}
    lines: dict[str, Any] = {**prompts}
    lines |= {name: question.prompts for name, question in added.items()}
    content["__prompts__"] = {}
    for name in (name for name in content if not name.startswith("_")):
        line = lines[name]
        if not isinstance(line, str):
            line = {one: line[one] for one in ("__prompt__", *content[name])}
        content["__prompts__"][name] = line
    if replaced:
        content[UPSTREAM] = {**replaced, "__prompts__": hidden}
    if content != upstream:
        text = json.dumps(content, indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8", newline="\n")
        _write_table(root / "README.md", content)
    return problems


def _problem(name: str, value: Value, questions: Mapping[str, Any]) -> str | None:
    if name not in questions:
        return unknown(name, questions, "the template asks no such question")
    if isinstance(questions[name], list):
        for one in value if isinstance(value, list) else [value]:
            if one not in questions[name]:
                return f"{one} is not a choice: {', '.join(questions[name])}"
    elif isinstance(value, list):
        return "must be text: the template offers no choices there"
    return None


def _default(value: Value, upstream: Value) -> Value:
    if isinstance(value, str) and isinstance(upstream, list):
        return [value, *(one for one in upstream if one != value)]
    return value


def _fixed(name: str, value: str) -> str:
    """Return a private variable that sets an answer, where its question was."""
    return (
        f"{{% set answer %}}{value}{{% endset %}}"
        f"{{{{ cookiecutter.update({{'{name}': answer}}) or answer }}}}"
    )


def _where_it_fits(value: str, upstream: str, questions: Mapping[str, Any]) -> str:
    """Return a default that upstream computes from a choice, for the team's choice alone.

    A pattern of addresses on S3 is none on another server: there the default is upstream's.
    """
    for name in re.findall(r"cookiecutter\.(\w+)", upstream):
        choices = questions.get(name)
        if isinstance(choices, list):
            test = f"cookiecutter.{name} == '{choices[0]}'"
            return f"{{% if {test} %}}{value}{{% else %}}{upstream}{{% endif %}}"
    return value


def _answer(fixed: str) -> str:
    return fixed.removeprefix("{% set answer %}").partition("{% endset %}")[0]


def _remove(path: Path, project: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    for parent in path.parents:
        if parent == project or any(parent.iterdir()):
            break
        parent.rmdir()


def _write_table(readme: Path, questions: Mapping[str, Any]) -> None:
    """Write the README's table of questions."""
    text = readme.read_text("utf-8") if readme.is_file() else ""
    head = re.search(r"^\| question \|.*\n\|[-|]+\|\n(?:\|.*\n)+", text, re.MULTILINE)
    if head:
        top = head[0].splitlines()[:2]
        rows = [f"| `{name}` | {line} | {shown} |" for name, line, shown in table(questions)]
        text = text.replace(head[0], "\n".join([*top, *rows]) + "\n")
        readme.write_text(text, encoding="utf-8", newline="\n")


def table(questions: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return each question that is asked: its name, its line, and what it offers."""
    rows = []
    for name, value in questions.items():
        if name.startswith("_"):
            continue
        prompt = questions["__prompts__"][name]
        line = prompt["__prompt__"] if isinstance(prompt, dict) else prompt
        if isinstance(value, list):
            offered = ", ".join(f"`{choice}`" for choice in value)
        elif "{" in value:
            used = dict.fromkeys(re.findall(r"cookiecutter\.(\w+)", value))
            offered = "from " + " and ".join(f"`{one}`" for one in used) if used else f"`{value}`"
        else:
            offered = f"`{value}`" if value else "empty"
        rows.append((name, line, offered))
    return rows
