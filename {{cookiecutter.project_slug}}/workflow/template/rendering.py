"""A version of the template, rendered with a project's answers.

cookiecutter is not in a project's environment: uv runs it in one of its own. The user's settings
of cookiecutter are ignored: their defaults would be answers that nobody gave.
"""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import uv
from ..errors import CommandError, shortened
from . import record, uv_lock
from .source import Source

COOKIECUTTER = "cookiecutter==2.7.1"
CAUSE = re.compile(r"^ +cause: (.+)$", re.MULTILINE)  # of uv, where it cannot install cookiecutter
# What cookiecutter prints after the reason of a hook.
CLOSING = re.compile(r"Stopping generation|Hook script failed|ERROR:|^\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class Rendering:
    """A version of the template with answers.

    Args:
        project: the folder.
        answers: all that the version asks for, defaults included; of the private ones `__year`.
    """

    project: Path
    answers: dict[str, str]


def render(source: Source, commit: str, answers: Mapping[str, str], folder: Path) -> Path:
    """Render a version of the template, and return the project's folder: see `rendering`."""
    return rendering(source, commit, answers, folder).project


def rendering(source: Source, commit: str, answers: Mapping[str, str], folder: Path) -> Rendering:
    """Render a version of the template.

    An answer to a question that the version does not ask is left out. The rendering has no record:
    that of the project says where it comes from.

    Args:
        folder: where the project's folder is made; made itself where it is missing.

    Raises:
        CommandError: an answer is not possible in that version, or cookiecutter failed.
    """
    questions = source.questions(commit)
    name = source.version(commit) or commit[:10]
    applicable = {key: value for key, value in answers.items() if key in questions}
    for key, value in applicable.items():
        choices = questions[key]
        if isinstance(choices, list) and value not in choices:
            offered = ", ".join(str(choice) for choice in choices)
            raise CommandError(
                f"version {name} of the template has no {key} {value!r} (it has {offered}):"
                f" --answer {key}=…"
            )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="template-", ignore_cleanup_errors=True) as temporary:
        template = Path(temporary) / "template"
        source.archive(commit, template)
        settings = {key: str(Path(temporary) / key) for key in ("cookiecutters_dir", "replay_dir")}
        config = Path(temporary) / "config.yaml"
        config.write_text(json.dumps(settings), encoding="utf-8")  # YAML reads JSON
        command = [
            *(uv.command(), "tool", "run", "--from", COOKIECUTTER, "cookiecutter", "--no-input"),
            *("--config-file", str(config), "--output-dir", str(folder.resolve()), str(template)),
            *(f"{key}={as_text(value)}" for key, value in applicable.items()),
        ]
        result = subprocess.run(
            command,
            cwd=temporary,
            env=_environment(temporary),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
        if result.returncode:
            printed = result.stderr + result.stdout
            if causes := CAUSE.findall(printed):
                reason = shortened(": ".join(dict.fromkeys((causes[0], causes[-1]))), 400)
                raise CommandError(f"{COOKIECUTTER}, which renders versions, is missing: {reason}")
            raise CommandError(f"version {name} of the template: {_reason(printed)}")
        replay = Path(settings["replay_dir"]) / f"{template.name}.json"
        context = json.loads(replay.read_text(encoding="utf-8"))["cookiecutter"]
    (project,) = folder.iterdir()
    (project / record.FILE).unlink(missing_ok=True)
    return Rendering(project, record.recorded_answers(context))


def as_text(answer: str) -> str:
    """Return an answer so that cookiecutter takes it as it is: without prompts, it renders them."""
    return f"{{{{ {json.dumps(answer, ensure_ascii=False)} }}}}" if "{" in answer else answer


def _environment(temporary: str) -> dict[str, str]:
    """Return the variables of a rendering: hooks leave their files in the temporary folder."""
    python = ("PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS")
    dropped = ("COOKIECUTTER_CONFIG", *python, *uv_lock.DECIDED)
    inherited = {key: value for key, value in os.environ.items() if key not in dropped}
    utf8 = {"PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8"}
    return {**inherited, **utf8, "TMPDIR": temporary, "TEMP": temporary, "TMP": temporary}


def _reason(printed: str) -> str:
    lines = [line.strip() for line in printed.splitlines() if not CLOSING.search(line)]
    return shortened(lines[0] if lines else "cookiecutter failed", 400)
