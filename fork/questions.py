"""What `inv fork` asks, and the first files of team/ that come of the answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workflow.errors import CommandError
from workflow.template.options import named_values

from fork.settings import SETTINGS
from fork.team import unknown

# Questions that a team's projects mostly answer alike, in the order of cookiecutter.json.
ASKED = (
    "author",
    "email",
    "license",
    "python_version",
    "framework",
    "dvc_remote",
    "dvc_remote_url",
    "wandb_entity",
    "ci",
)
FIXED = "!"  # at the end of an answer
ABOUT = f"""\
What all your projects have in common. Enter leaves a question to each project, as it is.
An answer is the default of your projects; one that ends with {FIXED} is fixed, and no longer asked.
"""
TEST = '''\
"""What this team's projects have, beside what upstream's tests look at: `inv test` runs both."""

import json

from baking import ROOT, bake_as_team

TEAM = json.loads((ROOT / "team/cookiecutter.json").read_text(encoding="utf-8"))


def test_a_project_is_generated_whatever_was_typed_for_what_is_fixed() -> None:
    project = bake_as_team(**dict.fromkeys(TEAM["fixed"], "something else"))
    project.assert_parses()
'''
PROJECTS = """\
# The projects that were made from this fork, for inv fleet.status and inv fleet.update:
#
# [orders]
# git = "https://git.example.com/ml/orders.git"
#
# [digits]
# git = "../digits"    # a folder counts from this one
# branch = "main"      # where it is not the default one
"""
REMOVED = """\
# What projects of this team do without: a path from the project's folder in each line, such as
# docs/kubernetes.md
"""


def ask(root: Path, answer: Callable[[str], str] = input) -> tuple[dict[str, str], dict[str, str]]:
    """Ask on the terminal; return defaults and fixed answers, settings among the latter."""
    questions = _questions(root)
    print(ABOUT)
    defaults, fixed = {}, {}
    for name in ASKED:
        offered = questions[name]
        choices = ", ".join(offered) if isinstance(offered, list) else _short(offered)
        typed = answer(f"{_line(questions, name)} [{choices}]: ").strip()
        while isinstance(offered, list) and typed.removesuffix(FIXED) not in ("", *offered):
            typed = answer(f"one of {choices}: ").strip()
        if typed.endswith(FIXED):
            fixed[name] = typed.removesuffix(FIXED).strip()
        elif typed:
            defaults[name] = typed
    print("\nWhat your company sets once. Enter leaves it as it is for everybody.\n")
    for name, setting in SETTINGS.items():
        while typed := answer(f"{setting.prompt}: ").strip():
            problem = setting.problem(typed)
            if not problem:
                fixed[name] = typed
                break
            print(f"{name} {problem}")
    return defaults, fixed


def parsed_options(
    root: Path, defaults: Sequence[str], fixed: Sequence[str]
) -> list[dict[str, str]]:
    """Return what options say, NAME=VALUE each.

    Raises:
        CommandError: there is no such question or setting.
    """
    known = {**{name: "" for name in _questions(root) if not name.startswith("_")}, **SETTINGS}
    parsed = []
    for option, typed in (("--default", defaults), ("--fix", fixed)):
        answers = named_values(option, typed)
        for name, value in answers.items():
            if name not in known:
                reason = unknown(name, known, "there is no such question or setting")
                raise CommandError(f"{option} {name}={value}: {reason}")
        parsed.append(answers)
    return parsed


def first_files(defaults: Mapping[str, str], fixed: Mapping[str, str]) -> dict[str, str]:
    """Return the files that team/ begins with."""
    every = {**defaults, **fixed}
    team = {
        "defaults": {name: value for name, value in defaults.items() if name not in SETTINGS},
        "fixed": {name: value for name, value in fixed.items() if name not in SETTINGS},
        "questions": {},
        "settings": {name: every.get(name, "") for name in SETTINGS},
    }
    return {
        "cookiecutter.json": json.dumps(team, indent=2, ensure_ascii=False) + "\n",
        "projects.toml": PROJECTS,
        "remove.txt": REMOVED,
        "tests/test_team.py": TEST,
    }


def _questions(root: Path) -> dict[str, Any]:
    questions: dict[str, Any] = json.loads((root / "cookiecutter.json").read_text("utf-8"))
    return questions


def _line(questions: Mapping[str, Any], name: str) -> str:
    line = questions["__prompts__"][name]
    return str(line if isinstance(line, str) else line["__prompt__"])


def _short(text: str) -> str:
    return "computed" if "{" in text else text
