"""Remove what the answers leave out, then print the next commands.

Only the standard library; no network, no prompts, and no Git: a commit made here would break
later updates of the project from the template.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

# How the name of a file or folder begins where the answers leave it out, as its name in the
# template says. Nobody else uses it: in a folder that was there, other names may be the user's.
LEFT_OUT = ".left-out"
DEEPEST = 2  # folders that such a one is in


def remove_left_out(project: Path) -> None:
    """Remove what the template wrote under such a name."""
    for depth in range(DEEPEST + 1):
        for path in project.glob("*/" * depth + f"{LEFT_OUT}*"):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


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
    remove_left_out(Path())
    print(next_commands(answers["project_slug"], has_uv=shutil.which("uv") is not None))


if __name__ == "__main__":
    main()
