"""One training of a trial, as a process: started, watched, pruned."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import failure, shortened
from ..paths import ROOT
from ..trial import INTERRUPTED, VARIABLE, Exchange, Result
from .locks import Lock
from .plan import Plan

LOOK_SECONDS = 0.05
DEATHS = 5  # by a signal, in a row: then the training itself is the cause, such as its memory
IS_WINDOWS = sys.platform == "win32"


class TrainingError(Exception):
    """A training failed; the text says why, in one line."""


@dataclass(frozen=True)
class Training:
    """A training of a trial: its folder is Hydra's run folder, and that of the exchange.

    Args:
        overrides: Hydra's.
        locks: that its process holds as long as it lives.
        variables: of its environment.
    """

    plan: Plan
    folder: Path
    overrides: list[str]
    locks: list[Lock]
    variables: Mapping[str, str]

    def run(self, watch: Callable[[Exchange], None]) -> Result:
        """Train, or resume what was killed; return the result, or the one that is there already.

        Args:
            watch: is called repeatedly while it trains.

        Raises:
            TrainingError: the training failed.
            KeyboardInterrupt: it was interrupted by Ctrl-C.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        exchange = Exchange(self.folder)
        deaths = 0
        while (result := exchange.result) is None:
            code = self._train(exchange, watch)
            if exchange.result is None and code > 0:
                reason = shortened(failure(self._log))
                if reason.startswith(INTERRUPTED):
                    raise KeyboardInterrupt
                raise TrainingError(reason)
            if exchange.result is None and code == 0:
                raise TrainingError("it ended without a result: see its log.txt")
            deaths += 1
            if exchange.result is None and deaths == DEATHS:
                name = signal.Signals(-code).name
                raise TrainingError(f"killed {deaths} times by {name}: out of memory?")
        watch(exchange)
        return result

    def _train(self, exchange: Exchange, watch: Callable[[Exchange], None]) -> int:
        command = [sys.executable, "-m", self.plan.module, f"--config-path={self.plan.conf}"]
        command += [*self.overrides, f"hydra.run.dir={_quoted(self.folder)}"]
        descriptors = [lock.fileno() for lock in self.locks]
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **self._own_variables, **self.variables},
                stdin=subprocess.PIPE if IS_WINDOWS else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=() if IS_WINDOWS else descriptors,
            )
        try:
            while process.poll() is None:
                watch(exchange)
                time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:  # the training got the same Ctrl-C, and ends by itself
            process.wait()
            raise
        return process.returncode

    @property
    def _own_variables(self) -> dict[str, str]:
        variables = {VARIABLE: str(self.folder), "PYTHONUNBUFFERED": "1"}
        # On Windows a process cannot inherit locks: it ends with the process that holds them.
        return variables | ({"ENDS_WITH_STDIN": "1"} if IS_WINDOWS else {})

    @property
    def _log(self) -> Path:
        return self.folder / "log.txt"


def _quoted(folder: Path) -> str:
    """Return a path as Hydra's grammar takes it, whatever is in it."""
    text = folder.as_posix().replace("'", "\\'")
    return f"'{text}'"
