"""A project in a folder of a repository that has others: what has to lie at the repository's top.

GitHub, GitLab and pre-commit read their files there alone. They are written from the project's own,
which stay the source: `inv setup` writes them again. A hook that pre-commit starts at the top runs
in the project's folder by

    python -m workflow.monorepo COMMAND … FILE …
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from . import files, git
from .errors import CommandError

WORKFLOW = Path(".github/workflows/ci.yml")
UPDATE = Path(".github/workflows/template-update.yml")
GITLAB = Path(".gitlab-ci.yml")
HOOKS = Path(".pre-commit-config.yaml")
DVC_CONFIG = Path(".dvc/config")
UV_RUN = "uv run --no-sync "  # starts the entry of each hook


def prefix(project: Path) -> str:
    """Return where a project is in its repository: "", or a folder with a slash behind it."""
    printed = git.text(project, "rev-parse", "--show-prefix")
    return printed or ""


def is_member(project: Path) -> bool:
    """Whether the repository around a project has it, as one of its folders."""
    return bool(prefix(project) and git.text(project, "ls-files", "--", "dvc.yaml"))


def join(project: Path) -> list[Path]:
    """Write what the project needs at the top; return the files that were written.

    Raises:
        CommandError: a file there cannot be extended, or one of the project's cannot be carried
            over.
    """
    folder, top = prefix(project).rstrip("/"), git.top(project)
    assert top is not None
    name = folder.replace("/", "-")
    texts = {path: _read(project / path) for path in (WORKFLOW, UPDATE, GITLAB, HOOKS, DVC_CONFIG)}
    contents: dict[Path, str] = {}
    if text := texts[WORKFLOW]:
        contents[top / _workflow(name)] = github(text, folder, name)
    if text := texts[UPDATE]:
        contents[top / _workflow(f"{name}-update")] = github_update(text, folder, name)
    if text := texts[GITLAB]:
        contents[project / GITLAB] = gitlab(text, folder)
        contents[top / GITLAB] = _with_block(_read(top / GITLAB), name, trigger(folder, name))
    if text := texts[HOOKS]:
        contents[top / HOOKS] = _with_hooks(_read(top / HOOKS), name, hooks(text, folder, name))
    if text := texts[DVC_CONFIG]:
        contents[project / DVC_CONFIG] = outside(text, project, top)
    paths = [path for path, text in contents.items() if _read(path) != text]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path, contents[path])
    return paths


def at_top(project: Path) -> list[str]:
    """Return the paths, from the project's folder, of what `join` has written at the top."""
    folder, top = prefix(project).rstrip("/"), git.top(project)
    if not folder or top is None:
        return []
    name = folder.replace("/", "-")
    paths = (_workflow(name), _workflow(f"{name}-update"), GITLAB, HOOKS)
    return [os.path.relpath(top / path, project) for path in paths if (top / path).exists()]


def github(text: str, folder: str, name: str) -> str:
    """Return a workflow of GitHub that runs in a folder, when something of it has changed."""
    paths = f'paths: ["{folder}/**", ".github/workflows/{name}.yml"]'
    edits = [
        (r"^name: .*$", f"name: {name}"),
        (r"^  push:\n    branches: (.*)$", rf"  push:\n    branches: \1\n    {paths}"),
        (r"^  pull_request:$", f"  pull_request:\n    {paths}"),
        (r"^jobs:$", f"defaults:\n  run:\n    working-directory: {folder}\n\njobs:"),
        # It checks nothing out, so the folder is not there.
        (r"^  comment:$", "  comment:\n    defaults: {run: {working-directory: .}}"),
        (r"^( +)path: \.dvc/cache$", rf"\1path: {folder}/.dvc/cache"),
        (r"^( +(?:restore-)?keys?: )dvc-", rf"\1dvc-{name}-"),
        (r"^( {12})(reports|models|runs/train)/$", rf"\1{folder}/\2/"),
    ]
    return _edited_workflow(text, edits, f"{folder}/{WORKFLOW.as_posix()}")


def github_update(text: str, folder: str, name: str) -> str:
    """Return the workflow of GitHub that updates a project from its template, in its folder."""
    edits = [
        (r"^name: .*$", f"name: {name} template update"),
        (r"^  group: template-update$", f"  group: template-update-{name}"),
        (r"^jobs:$", f"defaults:\n  run:\n    working-directory: {folder}\n\njobs:"),
    ]
    return _edited_workflow(text, edits, f"{folder}/{UPDATE.as_posix()}")


def gitlab(text: str, folder: str) -> str:
    """Return a pipeline of GitLab that runs in a folder, as the child of that at the top."""
    if f"cd {folder}" in text:
        return text
    edits = [
        (r"^workflow:\n  rules:\n", r'\g<0>    - if: $CI_PIPELINE_SOURCE == "parent_pipeline"\n'),
        (r"^  before_script:\n", rf"\g<0>    - cd {folder}\n"),
        (r"files: \[uv\.lock\]", f"files: [{folder}/uv.lock]"),
        (r"paths: \[\.dvc/cache\]", f"paths: [{folder}/.dvc/cache]"),
        (r"key: dvc$", f"key: dvc-{folder.replace('/', '-')}"),
        (
            r"paths: \[reports/, models/, runs/train/\]",
            f"paths: [{folder}/reports/, {folder}/models/, {folder}/runs/train/]",
        ),
        (r"body@reports/changes\.md", f"body@{folder}/reports/changes.md"),
    ]
    return _edited(text, edits, f"{folder}/{GITLAB.as_posix()}")


def trigger(folder: str, name: str) -> str:
    """Return the job of GitLab at the top that starts a project's pipeline when it has changed."""
    return f"""{name}:
  trigger:
    include: {folder}/{GITLAB.as_posix()}
    strategy: depend
    forward: {{pipeline_variables: true}} # TEMPLATE_UPDATE of a schedule
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event" || $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH
      changes: ["{folder}/**/*"]
"""


def hooks(text: str, folder: str, name: str) -> str:
    """Return the project's hooks as items of `repos` at the top; each runs in the folder."""
    (local,) = yaml.safe_load(text)["repos"]
    for hook in local["hooks"]:
        if not hook["entry"].startswith(UV_RUN):
            raise CommandError(f"{folder}/{HOOKS}: {hook['id']} does not start with `{UV_RUN}`")
        command = hook["entry"].removeprefix(UV_RUN)
        hook["entry"] = f"{UV_RUN}--directory {folder} python -m workflow.monorepo {command}"
        hook["id"] = f"{name}-{hook['id']}"
        hook["name"] = f"{name}: {hook['name']}"
        place = re.escape(f"{folder}/")
        hook["files"] = f"^{place}{hook.get('files', '').removeprefix('^')}"
        if hook.get("exclude", "").startswith("^"):
            hook["exclude"] = f"^{place}{hook['exclude'].removeprefix('^')}"
    dumped = yaml.safe_dump([local], sort_keys=False, width=1000, allow_unicode=True)
    return "".join(f"  {line}\n" for line in dumped.splitlines())


def outside(text: str, project: Path, top: Path) -> str:
    """Return .dvc/config with a remote that is a relative folder outside of the repository."""

    def moved(match: re.Match[str]) -> str:
        url = match[2]
        if re.match(r"[a-z0-9]+://|/|~|[A-Za-z]:", url):
            return match[0]
        while (project / ".dvc" / url).resolve().is_relative_to(top.resolve()):
            url = f"../{url}"
        return f"{match[1]}{url}{match[3]}"

    return re.sub(r'^(\s*url = "?)([^"\n]+)("?)$', moved, text, flags=re.MULTILINE)


def main() -> int:
    """Run a command in the current folder, on files that are named from the top."""
    place = prefix(Path())
    command = [argument.removeprefix(place) for argument in sys.argv[1:]]
    if command[0] == "python":
        command[0] = sys.executable
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return subprocess.run(command, env={**os.environ, "PATH": tools}, check=False).returncode


def _workflow(name: str) -> Path:
    """Return where GitHub finds a workflow at the top."""
    return WORKFLOW.with_name(f"{name}.yml")


def _edited_workflow(text: str, edits: list[tuple[str, str]], source: str) -> str:
    head = f"# Written by `inv setup` from {source}: change it there.\n"
    return head + _edited(text, edits, source)


def _edited(text: str, edits: list[tuple[str, str]], name: str) -> str:
    for pattern, replacement in edits:
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        if not count:
            raise CommandError(f"{name}: no line is like {pattern}: write CI at the top by hand")
    return text


def _with_block(text: str, name: str, block: str) -> str:
    """Return a text with a block of this name, which replaces an earlier one."""
    begin, end = f"# {name}: begin, written by `inv setup`\n", f"# {name}: end\n"
    before, marker, rest = text.partition(begin)
    if marker:
        return f"{before}{begin}{block}{end}{rest.partition(end)[2]}"
    gap = "\n" if text else ""
    return f"{text.rstrip()}\n{gap}{begin}{block}{end}".lstrip("\n")


def _with_hooks(text: str, name: str, items: str) -> str:
    """Return the configuration of pre-commit at the top with a project's hooks in `repos`."""
    head = "default_install_hook_types: [pre-commit, pre-push]\ndefault_stages: [pre-commit]\n"
    text = text or f"{head}repos:\n"
    node = yaml.compose(text)
    keys = [key.value for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
    if not keys or keys[-1] != "repos" or re.search(r"^repos: *\S", text, re.MULTILINE):
        raise CommandError(f"{HOOKS} at the top: put `repos:` last, an entry a line, for its hooks")
    return _with_block(text, name, items)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    raise SystemExit(main())
