"""DVC's commands: their answers, and what they print without the advice at its end.

    python -m workflow.dvc_store.command repro

A task says itself what follows. DVC has no setting for these lines; its progress, warnings and
errors stay.
"""

import json
import logging
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..errors import CommandError

# The start of the lines that are left out: what to type, in DVC's words, and what the task's own
# last lines say better.
ADVICE = (
    "Use `dvc push` to send",
    "Data and pipelines are up to date.",
    "Ran experiment(s):",
    "Experiment results have been applied",
    "To apply the results of an experiment",
    "Changes for experiment",
    "Queueing with overrides",
    "Updating lock file",
    "To track the changes with git",
    "To enable auto staging",
    "Having any troubles?",
    "Some of the cache files do not exist",
)


def ask(*arguments: str, folder: Path = Path()) -> Any:
    """Return what a command of DVC's answers as JSON.

    Raises:
        CommandError: it failed, for the reason that DVC gives.
    """
    command = [sys.executable, "-m", "dvc", *arguments, "--json"]
    result = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    if result.returncode:
        errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        raise CommandError(errors[-1].removeprefix("ERROR: ") if errors else "dvc failed")
    return json.loads(result.stdout)


def hush() -> None:
    """Leave DVC's advice out of what this process prints."""
    from dvc.ui import ui

    write = ui.write

    def write_rest(*objects: object, **options: object) -> None:
        if not is_advice(" ".join(map(str, objects))):
            write(*objects, **options)

    ui.write = write_rest
    for handler in logging.getLogger("dvc").handlers:
        handler.addFilter(_shorten)


def is_advice(text: str) -> bool:
    """Whether a line is one of those that are left out."""
    return text.strip().startswith(ADVICE)


def main(arguments: list[str]) -> int:
    from dvc import cli

    hush()
    code: int = cli.main(arguments)
    return code


def _shorten(record: logging.LogRecord) -> bool:
    """Drop advice; of a stage that failed, name the stage, not its whole command."""
    from dvc.stage.exceptions import StageCmdFailedError

    error = record.exc_info[1] if record.exc_info else None
    if error and isinstance(error.__cause__, StageCmdFailedError):
        record.msg, record.args = f"{error}: {_why(error.__cause__)}", ()
        record.exc_info = None
    return not is_advice(record.getMessage())


def _why(error: Exception) -> str:
    """Return why the command of a stage failed: of a signal, it may have said nothing itself."""
    match = re.search(r" exited with -(\d+)$", str(error))
    return f"killed by {signal.Signals(int(match[1])).name}" if match else "the lines above say why"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
