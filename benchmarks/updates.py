"""Measure how long an update of a project takes, and write the table of README.md.

inv bench --updates    about two minutes; needs the template's whole history
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import ROOT, machine, seconds, table, write

sys.path.append(str(ROOT / "{{cookiecutter.project_slug}}"))
from workflow.template import record, rendering, source

PROJECT = ROOT / "{{cookiecutter.project_slug}}"
UV = os.environ.get("UV", "uv")
# What Git is told, whoever runs this.
IDENTITY = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    **{f"GIT_{role}_NAME": "Benchmark" for role in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{role}_EMAIL": "benchmark@example.com" for role in ("AUTHOR", "COMMITTER")},
}


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, env={**os.environ, **IDENTITY})


def make(folder: Path, version: str) -> Path:
    """Make a project of a version, with its record, in Git."""
    with source.open_source(str(ROOT)) as template:
        commit = template.resolve(version)
        made = rendering.rendering(template, commit, {}, folder / version)
    record.write(made.project, record.Record(str(ROOT), commit, version, made.answers))
    git(made.project, "init", "--quiet", "--initial-branch=main")
    git(made.project, "add", "--all", "--force")
    git(made.project, "commit", "--quiet", "--message=Start")
    return made.project


def updating(project: Path, times: int = 3) -> float:
    """Return the seconds of an update to the newest version, without the project's tests."""
    command = (sys.executable, "-m", "workflow.template.update", "--no-test")
    taken = []
    for _ in range(times):
        options = (f"--project={project}",)
        taken.append(seconds(*command, *options, folder=PROJECT, **IDENTITY))
        branch = (project / ".git" / "HEAD").read_text("utf-8").partition("heads/")[2].strip()
        git(project, "switch", "--quiet", "main")
        git(project, "branch", "--quiet", "-D", branch)
    return statistics.median(taken)


def raise_versions(project: Path) -> None:
    """Give a project a dependency of its own, and other versions in its lock."""
    path = project / "pyproject.toml"
    text = path.read_text("utf-8")
    path.write_text(text.replace("dependencies = [\n", 'dependencies = [\n    "tomlkit",\n', 1))
    seconds(UV, "lock", "--upgrade-package=platformdirs==4.3.8", folder=project)
    git(project, "commit", "--quiet", "--all", "--message=Own versions")


def main() -> None:
    rows: list[tuple[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for version in ("3.1.0", "0.2.0"):
            made = make(folder, version)
            rows.append((f"a default project of {version}", updating(made)))
            if version == "3.1.0":
                raise_versions(made)
                rows.append(("… with versions of its own in `uv.lock`", updating(made)))
    lines = [
        [what, f"{took:.2f}", "" if n else "under 30 s"] for n, (what, took) in enumerate(rows)
    ]
    write("updates", f"{machine()}\n\n{table(['update', 'seconds', 'aim'], lines)}")


if __name__ == "__main__":
    main()
