"""A signal ends a training with one line, whatever becomes of the KeyboardInterrupt."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from workflow.paths import NEWEST_CHECKPOINT, ROOT

TRAINING = """
import signal, time
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

interrupts.AGAIN_SECONDS = 0.1
with interrupts.ending(Path("run").resolve()):
    {here}
    time.sleep(60)
"""


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
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **({"DVC_STAGE": "train"} if stage else {})}
    command = [sys.executable, "-c", TRAINING.format(here=here)]
    done = subprocess.run(
        command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1] == f"interrupted: {line}"
