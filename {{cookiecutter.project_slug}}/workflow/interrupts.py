"""Ctrl-C, `docker stop` and SIGTERM: they end a training with one line, wherever it is.

One KeyboardInterrupt may get lost. In a callback of the garbage collector, such as JAX has one, or
in `__del__`, Python drops it, and the training would run to its end. Other code turns it into an
error of its own.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType

from .paths import NEWEST_CHECKPOINT
from .trial import INTERRUPTED

AGAIN_SECONDS = 1.0


@contextmanager
def ending(run_dir: Path) -> Iterator[None]:
    """On a signal, raise KeyboardInterrupt in the block, each second until the block has ended.

    After the block, a signal ends the process at once: nothing is left to lose.

    Args:
        run_dir: of the training in the block.

    Raises:
        SystemExit: there was a signal; the text says how to resume.
    """
    sys.excepthook = sys.__excepthook__  # W&B shows an error itself, and calls any other hook too
    sys.unraisablehook = _show_unraisable
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        _set_alarm(AGAIN_SECONDS)
        raise KeyboardInterrupt

    def insist(number: int, frame: FrameType | None) -> None:
        if signal.getsignal(signal.SIGINT) is interrupt:  # else Lightning has it, and is closing
            interrupt(number, frame)

    handlers = {signal.SIGINT: interrupt, signal.SIGTERM: interrupt}
    if sys.platform != "win32":
        handlers[signal.SIGALRM] = insist
    heeded = [number for number in handlers if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, handlers[number])
    try:
        yield
    except BaseException:
        if not interrupted:
            raise
    finally:
        _set_alarm(0)
        for number in heeded:
            signal.signal(number, signal.SIG_DFL)
    if interrupted:
        # W&B reads the exit code of its run where this function is called.
        sys.exit(f"{INTERRUPTED}: {_what_follows(run_dir)}")


def shorten() -> None:
    """Until `ending`, show a Ctrl-C as one line: Hydra composes the config meanwhile."""
    sys.excepthook = _show


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if kind is KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _show_unraisable(dropped: "sys.UnraisableHookArgs") -> None:
    if dropped.exc_type is not KeyboardInterrupt:  # which is raised again
        sys.__unraisablehook__(dropped)


def _set_alarm(seconds: float) -> None:
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _what_follows(run_dir: Path) -> str:
    resumes = (run_dir / NEWEST_CHECKPOINT).exists()
    does = "resumes from the last checkpoint" if resumes else "starts over"
    if "DVC_STAGE" in os.environ or not resumes:
        return f"the next `inv train` {does}"
    return f"the same training {does} with hydra.run.dir={os.path.relpath(run_dir)}"
