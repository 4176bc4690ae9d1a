"""Remove what the answers leave out, record where the project comes from, print what is next.

Only the standard library; no network, no prompts, and no Git: a commit made here would break
later updates of the project from the template.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
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


RECORD = Path(".cruft.json")
PRIVATE = ("__version", "__year")  # what an update needs, and a later version cannot compute


def record(answers: dict[str, str | None]) -> list[str]:
    """Write the record of a project's template, in cruft's form; return what to say of it.

    cruft itself writes one after this, and one that is there already stays: with `-s`, files of an
    older version do, too.
    """
    if "_repo_dir" not in answers or RECORD.exists():
        return []
    template, commit = origin(answers)
    lines: list[str] = []
    if template != (address := without_secret(template)):
        lines.append(f"{RECORD} has the template's address without the password that was in it.")
    if re.fullmatch(r"[^:@]+", address) and not Path(address).is_absolute():
        lines.append(f"It is not known where {address} is: uv run inv template.link FOLDER.")
    questions = {name: value for name, value in answers.items() if not name.startswith("_")}
    private = {name: answers[name] for name in PRIVATE}
    content = {
        "template": address,
        "commit": commit,
        "checkout": answers["_checkout"],
        "context": {
            "cookiecutter": {**questions, **private, "_template": address, "_commit": commit}
        },
        "directory": None,
    }
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    RECORD.write_text(text, encoding="utf-8", newline="\n")
    return lines


def origin(answers: dict[str, str | None]) -> tuple[str, str | None]:
    """Return the template's address (a folder is absolute), and its commit where one is known."""
    typed = str(answers["_template"])
    output = Path(str(answers["_output_dir"]))
    # A relative folder counts from where cookiecutter was started, which only a shell says.
    for folder in (output, Path(os.environ.get("PWD", output)), *output.parents):
        path = folder / Path(typed).expanduser()
        if path.suffix == ".zip" and path.is_file():
            return path.resolve().as_posix(), None
        if is_template(path, answers):
            return path.resolve().as_posix(), commit_of(path)
    clone = Path(str(answers["_repo_dir"]))
    return url_of(clone) or typed, commit_of(clone)


def is_template(folder: Path, answers: dict[str, str | None]) -> bool:
    """Whether a folder has the template that asked for these answers."""
    try:
        content = json.loads((folder / "cookiecutter.json").read_text(encoding="utf-8"))
        questions = {name for name in content if not name.startswith("_")}
        return content["__version"] == answers["__version"] and questions <= answers.keys()
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def git_folders(work_tree: Path) -> list[Path]:
    """Return Git's folder of a work tree, and the one that it shares with others of its kind."""
    folder = work_tree / ".git"
    if folder.is_file():  # a worktree, or a submodule
        folder = work_tree / folder.read_text(encoding="utf-8").partition("gitdir:")[2].strip()
    shared = folder / "commondir"
    if shared.is_file():
        return [folder, folder / shared.read_text(encoding="utf-8").strip()]
    return [folder]


def commit_of(work_tree: Path) -> str | None:
    """Return the commit of a work tree; None where it is none, or has none."""
    folders = git_folders(work_tree)
    try:
        value = (folders[0] / "HEAD").read_text(encoding="utf-8").strip()
        while value.startswith("ref:"):
            value = next(values_of(value.partition(":")[2].strip(), folders), "")
    except OSError:
        return None
    return value if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", value) else None


def values_of(ref: str, folders: list[Path]) -> Iterator[str]:
    """Yield what the files of a repository say of a ref, what counts first."""
    for folder in folders:
        if (folder / ref).is_file():
            yield (folder / ref).read_text(encoding="utf-8").strip()
    packed = folders[-1] / "packed-refs"
    if packed.is_file():
        for line in packed.read_text(encoding="utf-8").splitlines():
            value, _, name = line.partition(" ")
            if name == ref:
                yield value


def url_of(clone: Path) -> str | None:
    """Return the URL that a clone is of; None where it is none."""
    try:
        config = (git_folders(clone)[-1] / "config").read_text(encoding="utf-8")
    except OSError:
        return None
    section = re.search(r'^\[remote "origin"\]$(.*?)(?=^\[|\Z)', config, re.MULTILINE | re.DOTALL)
    match = re.search(r"^\s*url = (.+)$", section[1], re.MULTILINE) if section else None
    return match[1].strip('"') if match else None


def without_secret(address: str) -> str:
    """Return a URL without what gives access: user and password, a token in its query."""
    if "://" not in address:
        return address
    address = address.partition("?")[0]
    return re.sub(r"^((?:\w+\+)?https?://)[^/]*@|^(\S+?://[^/@:]+):[^/@]*(?=@)", r"\1\2", address)


def fixed(answers: dict[str, str | None]) -> list[str]:
    """Say what a fork's team has fixed: cookiecutter drops what is typed for it without a word."""
    begin = "__fixed_"
    names = [name for name in answers if name.startswith(begin)]
    pairs = ", ".join(f"{name.removeprefix(begin)}={answers[name]}" for name in names)
    line = f"Fixed by your team: {pairs}".encode("ascii", "backslashreplace").decode()
    return [line] if names else []


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
    for line in [*record(answers), *fixed(answers)]:
        print(line)
    print(next_commands(answers["project_slug"], has_uv=shutil.which("uv") is not None))


if __name__ == "__main__":
    main()
