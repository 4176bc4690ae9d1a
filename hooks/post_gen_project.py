"""Remove what the answers leave out, then print the next commands.

Only the standard library; no network, no prompts, and no Git: a commit made here would break
later updates of the project from the template.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

# What is kept for one answer only: (question, answer) -> paths, removed for every other answer.
REMOVE: dict[tuple[str, str], list[str]] = {
    ("ci", "github"): [".github"],
    ("ci", "gitlab"): [".gitlab-ci.yml"],
}


def left_out(answers: dict[str, str]) -> list[str]:
    """The paths that these answers leave out."""
    return [
        path
        for (question, answer), paths in REMOVE.items()
        if answers[question] != answer
        for path in paths
    ]


def remove(path: Path) -> None:
    """Remove a file or a folder; one that is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def next_commands(slug: str, has_uv: bool) -> str:
    """The closing text. Plain ASCII: it is printed to terminals of any encoding."""
    commands = [
        (f"cd {slug}", ""),
        ("pip install uv", "uv was not found on the PATH"),
        ("uv run inv setup", "environment, Git, DVC, hooks"),
        ("uv run inv train", "the whole pipeline, from data to an evaluated model"),
        ("uv run inv report", "what came out, as one page"),
    ]
    if has_uv:
        commands = [(command, why) for command, why in commands if command != "pip install uv"]
    width = max(len(command) for command, _ in commands[1:])
    lines = [
        f"    {command:<{width}}  {f'# {why}' if why else ''}".rstrip() for command, why in commands
    ]
    return "\n".join(["", f"Your project is in the folder {slug}. Next:", "", *lines, ""])


def main() -> None:
    """Run in the generated project's folder, as cookiecutter does."""
    # As hex, no answer can end the string that it is passed in.
    answers = json.loads(bytes.fromhex("{{ (cookiecutter | jsonify).encode().hex() }}"))
    for path in left_out(answers):
        remove(Path(path))
    print(next_commands(answers["project_slug"], has_uv=shutil.which("uv") is not None))


if __name__ == "__main__":
    main()
