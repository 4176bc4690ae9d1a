"""What a job runs on its node: the pipeline, in the job's snapshot; the result is an experiment.

submitit starts it once; a training on several nodes starts its processes with srun. SLURM signals
it before the time limit, and when it is preempted: it stops the pipeline as Ctrl-C does, and is
requeued, to resume from the last checkpoint in the same snapshot.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import one_line
from ..git import GitError
from ..paths import METRICS
from ..results import read_metrics
from ..serving import starter
from . import records, snapshot

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

ALIVE_SECONDS = 5


class JobError(Exception):
    """A step of a job failed; the text says which."""


@dataclass
class Work:
    """A command that a job runs, as submitit pickles it.

    Args:
        home: the project that it was submitted from.
        stop_seconds: between SLURM's signal and the end of the job.
        variables: set for what it runs.
    """

    home: Path
    stop_seconds: int
    variables: dict[str, str]

    def __post_init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Run it, and write how it ended.

        Raises:
            JobError: it failed, which SLURM has to know, too.
        """
        folder, task = _place()
        (folder / f"{task}_{records.OUTCOME}").unlink(missing_ok=True)  # from before a requeue
        restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
        again = f", restart {restarts}" if restarts != "0" else ""
        nodes = os.environ.get("SLURM_JOB_NODELIST", "")
        print(f"job {task} on {nodes}{again}", flush=True)
        with _alive(folder / f"{task}_{records.ALIVE}"):
            try:
                metrics = self.work()
            except (JobError, GitError, OSError) as error:
                records.write_outcome(folder, task, one_line(error), {})
                raise
            records.write_outcome(folder, task, None, metrics)

    def work(self) -> dict[str, float]:
        """Do the work and return its metrics."""
        raise NotImplementedError

    def checkpoint(self) -> "DelayedSubmission":
        """Stop at the last checkpoint: submitit calls it on SLURM's signal, then requeues."""
        from submitit.helpers import DelayedSubmission

        print("SLURM is about to end this job: stopping at the last checkpoint", flush=True)
        if self._process and not _has_ended(self._process):
            _signal_group(self._process, signal.SIGINT)
            last = time.monotonic() + max(self.stop_seconds - 15, 5)
            while not _has_ended(self._process) and time.monotonic() < last:
                time.sleep(0.1)
            _signal_group(self._process, signal.SIGKILL)
        return DelayedSubmission(replace(self))

    def do(self, *command: str, shown: str, watched: bool = False) -> None:
        """Run a command in the current folder.

        Args:
            shown: what it is called where it fails.
            watched: a training in it watches its standard input, and ends with this process.

        Raises:
            JobError: it failed.
        """
        environment = {**os.environ, **self.variables}
        path = [str(Path(sys.executable).parent), environment.get("PATH", "")]
        environment["PATH"] = os.pathsep.join(path)
        # A process group of its own: a signal is for the stage, not for this process.
        # Not every cluster cleans up after a killed job: a training ends with this process.
        environment[starter.VARIABLE] = "1" if watched else ""
        stdin = subprocess.PIPE if watched else subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, env=environment, stdin=stdin, start_new_session=True
        )
        if code := self._process.wait():
            how = f"was killed by signal {-code}" if code < 0 else "failed: its log says why"
            raise JobError(f"{shown} {how}")


@dataclass
class Pipeline(Work):
    """The pipeline of a snapshot, whose result becomes an experiment.

    Args:
        name: of the experiment.
    """

    name: str

    def work(self) -> dict[str, float]:
        project = Path.cwd()
        command = (sys.executable, "-m", "workflow.dvc_store.command")
        options = ("--quiet", "--force", "--allow-missing")
        self.do(*command, "checkout", *options, shown="dvc checkout")
        self.do(*command, "repro", shown="dvc repro", watched=True)
        snapshot.keep(project, self.name)
        metrics = read_metrics(project / METRICS)
        os.chdir(self.home)
        snapshot.remove(project, self.home)
        return metrics


@dataclass
class Command(Work):
    """A module of the workflow, such as a worker of a sweep.

    Args:
        arguments: of `python -m`.
        shown: what it is called where it fails.
    """

    arguments: tuple[str, ...]
    shown: str

    def work(self) -> dict[str, float]:
        self.do(sys.executable, "-m", *self.arguments, shown=self.shown)
        return {}


def pipeline(home: Path, name: str, stop_seconds: int, image: dict[str, str]) -> Pipeline:
    """Return the work of a training: its runs and its cache are those of the project at `home`.

    Args:
        image: variables of the container that it trains in; {} where there is none.
    """
    variables = {"DVC_ROOT": str(home), "DVC_EXP_NAME": name, **image}
    return Pipeline(home, stop_seconds, variables, name)


def _place() -> tuple[Path, str]:
    """Return the folder of this job's files, and its id, or that of its task in an array."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    task = f"{array}_{index}" if array else os.environ["SLURM_JOB_ID"]
    folder = os.environ["SUBMITIT_FOLDER"]
    return Path(folder.replace("%A", array or task).replace("%j", task)), task


def _has_ended(process: "subprocess.Popen[Any]") -> bool:
    """Whether a process has ended; for a signal's handler: `wait` may hold Popen's own lock."""
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _signal_group(process: "subprocess.Popen[Any]", number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


@contextmanager
def _alive(path: Path) -> Iterator[None]:
    """Touch a file while the job runs, as a sign that its node is up."""
    ended = threading.Event()

    def touch() -> None:
        while not ended.is_set():
            path.touch()
            ended.wait(ALIVE_SECONDS)

    thread = threading.Thread(target=touch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        path.unlink(missing_ok=True)
