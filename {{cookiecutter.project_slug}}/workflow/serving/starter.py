"""Ending with the process that started this one, even if that was killed.

A starter that asks for it sets ENDS_WITH_STDIN and holds the other end of this process's standard
input: the system closes that end, on any platform, however the starter went.
"""

import contextlib
import os
import signal
import sys
import threading
import time

VARIABLE = "ENDS_WITH_STDIN"
LOOK_SECONDS = 1.0


def watch() -> None:
    """Send SIGTERM to this process when its starter is gone, if the starter asks for that."""
    if os.environ.get(VARIABLE):
        threading.Thread(target=_wait, name="starter", daemon=True).start()


def watch_parent() -> None:
    """Send SIGTERM to this process when its parent is gone; Windows does not say so."""
    parent = os.getppid()

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def _wait() -> None:
    with contextlib.suppress(OSError):
        while os.read(sys.stdin.fileno(), 1):  # nothing comes but the end
            pass
    signal.raise_signal(signal.SIGTERM)
