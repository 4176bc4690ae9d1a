"""How tasks run commands: shown, in the project's folder and environment, without a shell."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from invoke.exceptions import Exit

from .. import uv
from ..errors import CommandError
from ..paths import ROOT

PACKAGE = "workflow"
LOOK_SECONDS = 0.5
# DVC sets these for a stage: left over from another, they would have a stage keep its config.
OF_A_STAGE = ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV")


def run(*command: str, ends_with_this: bool = False, shown: bool = True) -> None:
    """Show a command and run it in the project's folder; end the task if it fails.

    Args:
        ends_with_this: the command ends when this process is killed. It has to watch for that:
            see serving/starter.py of the package.
        shown: not, where the command only says what came out.
    """
    if command[0] == "dvc":
        require_git()
    if shown:
        print(f"$ {shlex.join(command)}", flush=True)
    if command[0] == "dvc":
        command = ("python", "-m", f"{PACKAGE}.dvc_store.command", *command[1:])
    code = exit_code(*command, ends_with_this=ends_with_this)
    if code:
        raise Exit(code=code)


def follows(*commands: str) -> None:
    """End a task with the commands that come next."""
    print(f"next: {', '.join(commands)}", flush=True)


def require_git() -> None:
    """End the task, before anything runs, where Git does not open the project: DVC would fail."""
    from .. import repository
    from ..git import GitError

    try:
        repository.require(ROOT)
    except GitError as error:
        raise Exit(str(error), code=1) from None


def require_code(experiment: bool = False) -> None:
    """End the task, before anything runs, where the code of the stages is not as it should be.

    Either a merge has left a file in conflict, or dvc.yaml does not list all code of its stages.

    Args:
        experiment: whether DVC is to stash the folder, which it cannot before a merge is finished.
    """
    from .. import conflicts, stage_code

    try:
        (conflicts.require_merged if experiment else conflicts.require_settled)(ROOT)
        stage_code.require_listed()
    except CommandError as error:
        raise Exit(str(error), code=1) from None


def run_uv(*arguments: str) -> None:
    """Run the uv that runs this environment."""
    run(uv.find() or "uv", *arguments)


def run_module(
    module: str, *arguments: str, ends_with_this: bool = False, shown: bool = True
) -> None:
    """Run a module of the project's package."""
    command = ("python", "-m", f"{PACKAGE}.{module}", *arguments)
    run(*command, ends_with_this=ends_with_this, shown=shown)


def exit_code(*command: str, quiet: bool = False, ends_with_this: bool = False) -> int:
    """Run a command in the project's folder and return its exit code."""
    output = subprocess.DEVNULL if quiet else None
    starter = os.getppid()
    try:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment() | ({"ENDS_WITH_STDIN": "1"} if ends_with_this else {}),
            stdin=subprocess.PIPE if ends_with_this else None,
            stdout=output,
            stderr=output,
        )
    except FileNotFoundError:
        raise Exit(f"{command[0]} is not installed: inv doctor says how to fix it", 127) from None
    while True:
        try:
            return process.wait(LOOK_SECONDS if ends_with_this else None)
        except KeyboardInterrupt:
            continue  # the command got the same Ctrl-C; let it end by itself
        except subprocess.TimeoutExpired:
            # `uv run` was killed, which a user who typed it takes for this process.
            if "UV_RUN_RECURSION_DEPTH" in os.environ and os.getppid() != starter:
                assert process.stdin
                process.stdin.close()


def environment() -> dict[str, str]:
    """Return this process's environment, with the project's tools first and `.env` under it."""
    from dotenv import dotenv_values

    tools = str(Path(sys.executable).parent)
    path = os.pathsep.join([tools, os.environ.get("PATH", "")])
    from_file = {key: value for key, value in dotenv_values(ROOT / ".env").items() if value}
    inherited = {key: value for key, value in os.environ.items() if key not in OF_A_STAGE}
    return {**from_file, **inherited, "PATH": path}


def overrides() -> list[str]:
    """Return what was typed after `--`, exactly as it was typed."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
