"""A signal ends a training with one line, whatever becomes of the KeyboardInterrupt."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from workflow.paths import NEWEST_CHECKPOINT, ROOT

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals like these")
TRAINING = """
import hashlib, os, signal, threading, time
from pathlib import Path
from workflow import interrupts

class Dropping:
    def __del__(self):  # Python prints what this raises, and drops it
        signal.raise_signal(signal.SIGINT)

def turn_into_another():
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        raise ValueError("deleted or donated") from None

def wait_elsewhere():  # Python calls no handler meanwhile
    threading.Timer(0.1, lambda: signal.raise_signal(signal.SIGTERM)).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

def end_a_worker():
    worker = os.fork()
    if not worker:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        time.sleep(60)
    time.sleep(0.2)
    os.kill(worker, signal.SIGTERM)
    time.sleep(0.5)
    os._exit(0)

interrupts.AGAIN_SECONDS = 0.1
interrupts.END_SECONDS = {seconds}
with interrupts.ending(Path("run").resolve()):
    {here}
    time.sleep(60)
"""


def run(here: str, folder: Path, seconds: float, **variables: str) -> tuple[int, list[str]]:
    """Train with a signal; return the exit code, and what it says."""
    command = [sys.executable, "-c", TRAINING.format(here=here, seconds=seconds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("here", ["Dropping()", "turn_into_another()"])
@pytest.mark.parametrize(
    ("saved", "stage", "line"),
    [
        (False, False, "the next `inv train` starts over"),
        (True, True, "the next `inv train` resumes from the last checkpoint"),
        (True, False, "the same training resumes from the last checkpoint with hydra.run.dir=run"),
    ],
)
def test_a_signal_ends_a_training_with_what_follows(
    here: str, saved: bool, stage: bool, line: str, tmp_path: Path
) -> None:
    newest = tmp_path / "run" / NEWEST_CHECKPOINT
    newest.parent.mkdir(parents=True)
    if saved:
        newest.touch()
    code, lines = run(here, tmp_path, 60, **({"DVC_STAGE": "train"} if stage else {}))
    assert (code, lines[-1]) == (1, f"interrupted: {line}")


def test_a_signal_ends_a_training_that_waits_for_another_process(tmp_path: Path) -> None:
    code, lines = run("wait_elsewhere()", tmp_path, 0.1)
    assert (code, lines) == (1, ["interrupted: the next `inv train` starts over"])


def test_one_of_several_processes_says_it(tmp_path: Path) -> None:
    assert run("turn_into_another()", tmp_path, 60, LOCAL_RANK="1") == (1, [])


@POSIX
def test_a_worker_that_is_ended_does_not_end_the_training(tmp_path: Path) -> None:
    assert run("end_a_worker()", tmp_path, 0.1) == (0, [])


FIRST = """
import os, subprocess, sys
rank = "from workflow.serving import starter; import time; starter.watch_parent()"
command = [sys.executable, "-c", rank + "; print(flush=True); time.sleep(60)"]
subprocess.Popen(command, stdout=subprocess.PIPE).stdout.read(1)
os._exit(9)
"""


@POSIX
def test_a_process_ends_when_the_first_one_of_its_training_is_gone() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", FIRST]
    # Until the other one has closed the stream that it shares.
    subprocess.run(command, env=environment, stderr=subprocess.PIPE, check=False, timeout=30)
