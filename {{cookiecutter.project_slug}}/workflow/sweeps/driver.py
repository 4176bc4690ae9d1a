"""Running a sweep on this machine: workers, each a process, and a line for each trial that ends."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import CommandError, failure, shortened
from ..paths import ROOT
from .progress import Progress
from .study import Sweep
from .worker import INTERRUPTED, REFUSED

LOOK_SECONDS = 0.2
DEATHS = 5  # of workers while no trial ends: then something else is wrong


@dataclass
class Driver:
    """Keeps workers alive until no trial is left.

    Args:
        jobs: how many trials at a time.
        gpus: of which each training gets one.
        failures: how many failed trials of the study end it; None: none do.
    """

    sweep: Sweep
    jobs: int
    gpus: list[str]
    failures: int | None

    def run(self) -> None:
        """Run the sweep to its end, or to its limit of failures.

        Raises:
            CommandError: a worker cannot run, or workers end one after the other.
            KeyboardInterrupt: it was interrupted; the trainings have ended.
        """
        progress = Progress(self.sweep)
        workers = {slot: self._start(slot) for slot in range(self.jobs)}
        deaths = 0
        try:
            while workers:
                time.sleep(LOOK_SECONDS)
                if progress.show():
                    deaths = 0
                for slot, (process, _) in list(workers.items()):
                    if process.poll() is None:
                        continue
                    self._close(workers.pop(slot))
                    if process.returncode == 0:
                        continue
                    if process.returncode == INTERRUPTED:
                        raise KeyboardInterrupt
                    deaths += 1
                    if process.returncode == REFUSED or deaths == DEATHS:
                        raise CommandError(shortened(failure(self._log(slot))))
                    workers[slot] = self._start(slot)
        except KeyboardInterrupt:  # the workers got the same Ctrl-C
            for process, _ in workers.values():
                process.wait()
            raise
        finally:
            for worker in workers.values():
                self._close(worker)
        progress.show()

    def _start(self, slot: int) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
        command = [sys.executable, "-m", "workflow.sweeps.worker", "--sweep", self.sweep.plan.name]
        command += ["--slot", str(slot), "--driver", str(os.getpid())]
        command += ["--gpus", ",".join(self.gpus)] if self.gpus else []
        command += ["--failures", str(self.failures)] if self.failures is not None else []
        log = self._log(slot).open("ab")
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        return process, log

    @staticmethod
    def _close(worker: tuple[subprocess.Popen[bytes], IO[bytes]]) -> None:
        worker[1].close()

    def _log(self, slot: int) -> Path:
        return self.sweep.folder / f"worker-{slot}.log"
