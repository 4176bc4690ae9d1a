"""What a team writes into team/, read and checked; a mistake is one line with file and key."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

from workflow.errors import CommandError

from fork import settings

FOLDER = "team"
QUESTIONS = f"{FOLDER}/cookiecutter.json"
FILES = f"{FOLDER}/files"
REMOVED = f"{FOLDER}/remove.txt"
KEYS = ("defaults", "fixed", "questions", "settings")
NOT_FILES = {".DS_Store", "Thumbs.db", "__pycache__"}
NAME = re.compile(r"[a-z][a-z0-9_]*")

Value = str | list[str]


@dataclass(frozen=True)
class Question:
    """A question of the team's own: a default, or choices with a line for each."""

    prompt: str
    default: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)

    @property
    def value(self) -> Value:
        """Return what cookiecutter.json has for it."""
        return list(self.choices) or self.default

    @property
    def prompts(self) -> str | dict[str, str]:
        """Return what `__prompts__` has for it."""
        return {"__prompt__": self.prompt, **self.choices} if self.choices else self.prompt


@dataclass(frozen=True)
class Team:
    """What team/ holds.

    Args:
        defaults: of questions of the template; of one with choices, the first or an order of some.
        fixed: answers that are not asked; Jinja may use other answers.
        files: in the project's folder, by their names there.
        removed: what is left out, by its name in a project.
    """

    defaults: Mapping[str, Value] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    questions: Mapping[str, Question] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    removed: tuple[str, ...] = ()


def touches(root: Path, name: str) -> bool:
    """Return whether the team adds a path to projects, changes it, or takes it away."""
    named = {*_files(root / FILES), *_removed(root / REMOVED), *settings.FILES}
    return any(f"{path}/".startswith(f"{name.rstrip('/')}/") for path in named)


def read(root: Path) -> Team:
    """Read team/ of a fork.

    Raises:
        CommandError: there is none, or something in it cannot be meant.
    """
    if not (root / FOLDER).is_dir():
        raise CommandError(f"there is no {FOLDER}/ here: inv fork starts a fork")
    text = _json(root / QUESTIONS)
    for key in text:
        if key not in KEYS:
            raise _wrong(key, f"is not one of {', '.join(KEYS)}")
        if not isinstance(text[key], dict):
            raise _wrong(key, "must be an object: {…}")
    files = _files(root / FILES)
    removed = _removed(root / REMOVED)
    for name in removed:
        if name in files:
            raise CommandError(f"{REMOVED}: {name}: is in {FILES}/ too")
    team = Team(
        defaults={name: _value("defaults", name, value) for name, value in _of(text, "defaults")},
        fixed={name: _text("fixed", name, value) for name, value in _of(text, "fixed")},
        questions={name: _question(name, value) for name, value in _of(text, "questions")},
        settings={name: _setting(name, value) for name, value in _of(text, "settings")},
        files=files,
        removed=removed,
    )
    for name in team.fixed:
        if name in team.defaults:
            raise _wrong(f"fixed.{name}", "is in defaults too")
    return team


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        text = json.loads(path.read_text("utf-8"))
    except UnicodeDecodeError:
        raise CommandError(f"{QUESTIONS}: is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise CommandError(f"{QUESTIONS}: line {error.lineno}: {error.msg}") from None
    if not isinstance(text, dict):
        raise CommandError(f"{QUESTIONS}: must be an object: {{…}}")
    return text


def _of(text: dict[str, Any], key: str) -> list[tuple[str, Any]]:
    return list(text.get(key, {}).items())


def _value(key: str, name: str, value: Any) -> Value:
    if isinstance(value, list):
        if not value:
            raise _wrong(f"{key}.{name}", "is an empty list")
        return [_text(key, name, item) for item in value]
    return _text(key, name, value)


def _text(key: str, name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(f"{key}.{name}", f"must be text, not {json.dumps(value)}")
    # Here, and not above: importing it costs every other task a moment.
    from cookiecutter.environment import StrictEnvironment
    from jinja2 import TemplateSyntaxError

    try:
        StrictEnvironment(context={}).parse(value)
    except TemplateSyntaxError as error:
        raise _wrong(f"{key}.{name}", f"is not valid Jinja: {error.message}") from None
    return value


def _question(name: str, value: Any) -> Question:
    key = f"questions.{name}"
    if not NAME.fullmatch(name):
        raise _wrong(key, "is not a name: lower-case letters, digits and underscores")
    if not isinstance(value, dict) or not isinstance(value.get("prompt"), str):
        raise _wrong(key, 'must be {"prompt": "…", "default": "…"} or have "choices": {"a": "…"}')
    if unknown := set(value) - {"prompt", "default", "choices"}:
        raise _wrong(key, f"{min(unknown)} is not one of prompt, default, choices")
    choices = value.get("choices", {})
    if not isinstance(choices, dict) or not all(isinstance(one, str) for one in choices.values()):
        raise _wrong(f"{key}.choices", 'must give each choice a line: {"a": "a  what it means"}')
    if choices and value.get("default", next(iter(choices))) != next(iter(choices)):
        raise _wrong(f"{key}.default", "the first of choices is the default")
    default = "" if choices else _text("questions", f"{name}.default", value.get("default", ""))
    return Question(value["prompt"], default, choices)


def _setting(name: str, value: Any) -> str:
    if name not in settings.SETTINGS:
        raise _wrong(
            f"settings.{name}", unknown(name, settings.SETTINGS, "there is no such setting")
        )
    text = _text("settings", name, value)
    if problem := settings.SETTINGS[name].problem(text):
        raise _wrong(f"settings.{name}", problem)
    return text


def _files(folder: Path) -> dict[str, Path]:
    paths = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if NOT_FILES & set(path.parts):
            continue
        if path.is_symlink():
            raise CommandError(f"{FILES}/{name}: is a link: put the file itself there")
        if path.is_file():
            paths[name] = path
    return paths


def _removed(path: Path) -> tuple[str, ...]:
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    names = []
    for number, line in enumerate(lines, 1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        parts = PurePosixPath(name).parts
        if name.startswith(("/", "~")) or "\\" in name or ".." in parts or not parts:
            raise CommandError(
                f"{REMOVED}: line {number}: {name}: is not a path inside of a project, "
                "such as docs/kubernetes.md"
            )
        names.append(PurePosixPath(name).as_posix())
    return tuple(names)


def unknown(name: str, known: Mapping[str, Any], reason: str) -> str:
    """Return a reason with the name that may have been meant, or those that there are."""
    (near, *_) = [*get_close_matches(name, known, n=1), ""]
    return f"{reason}: {near}?" if near else f"{reason}: {', '.join(known)}"


def _wrong(key: str, reason: str) -> CommandError:
    return CommandError(f"{QUESTIONS}: {key}: {reason}")
