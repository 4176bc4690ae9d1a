"""kubectl: running it, shown or not, in the project's folder."""

import json
import re
import shlex
import shutil
import subprocess

from ..errors import CommandError
from ..paths import ROOT

OLDEST = (1, 27)  # the first kubectl with Kustomize 5
INSTALL = "https://kubernetes.io/docs/tasks/tools"


def require() -> None:
    """Raise CommandError where there is no kubectl, or one whose Kustomize is too old."""
    if not shutil.which("kubectl"):
        raise CommandError(f"the command `kubectl` is missing: {INSTALL}")
    version = json.loads(run("version", "--client", "--output=json"))["clientVersion"]
    release = re.match(r"v(\d+)\.(\d+)", version["gitVersion"])
    if release and (int(release[1]), int(release[2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise CommandError(f"kubectl {release[0]} is too old: install {oldest} or newer: {INSTALL}")


def run(*arguments: str) -> str:
    """Run kubectl in the project's folder and return what it printed.

    Raises:
        CommandError: with the last line of what it complained of.
    """
    done = subprocess.run(
        ["kubectl", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise CommandError(f"kubectl {arguments[0]}: {lines[-1].removeprefix('error: ')}")
    return done.stdout


def show(*arguments: str, fine: tuple[int, ...] = (0,)) -> None:
    """Show a command of kubectl and run it; what it prints goes to the terminal.

    Raises:
        CommandError: its exit code is none of `fine`.
    """
    command = ["kubectl", *arguments]
    print(f"$ {shlex.join(command)}", flush=True)
    if subprocess.run(command, cwd=ROOT, check=False).returncode not in fine:
        raise CommandError("the cluster refused it: the lines above say why")
