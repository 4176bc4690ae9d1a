"""Ctrl-C, `docker stop` and SIGTERM: they end a training with one line, wherever it is.

One KeyboardInterrupt may get lost. In a callback of the garbage collector, such as JAX has one, or
in `__del__`, Python drops it, and the training would run to its end. Other code turns it into an
error of its own. And Python raises none while other code waits, as for another process.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType

from .paths import NEWEST_CHECKPOINT
from .trial import INTERRUPTED
from .variables import RANKS

AGAIN_SECONDS = 1.0
END_SECONDS = 10.0  # for which the block may last after a signal

if hasattr(os, "register_at_fork"):  # else a worker's signal would be taken for one of this process
    os.register_at_fork(after_in_child=partial(signal.set_wakeup_fd, -1))


@contextmanager
def ending(run_dir: Path) -> Iterator[None]:
    """On a signal, raise KeyboardInterrupt in the block, each second until the block has ended.

    Where it has not after some seconds, the process ends as it is, as when it is killed. After the
    block, a signal ends it at once: nothing is left to lose.

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
        with _deadline(run_dir):
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
        sys.exit(_line(run_dir) if _is_main() else 1)


@contextmanager
def _deadline(run_dir: Path) -> Iterator[None]:
    """End this process where the block lasts too long after a signal.

    Python's own handlers wait for code that is not Python's. A thread hears of a signal at once.
    """
    heard, signals = socket.socketpair()
    signals.setblocking(False)
    ended = threading.Event()

    def watch() -> None:
        with heard:
            while (number := heard.recv(1)) and number[0] not in (signal.SIGINT, signal.SIGTERM):
                pass
        if number and not ended.wait(END_SECONDS):
            if _is_main():
                print(_line(run_dir), file=sys.stderr, flush=True)
            os._exit(1)

    threading.Thread(target=watch, name="deadline", daemon=True).start()
    before = signal.set_wakeup_fd(signals.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        ended.set()
        signals.close()


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


def _is_main() -> bool:
    """Whether this is the first of the processes of a training, or the only one."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)


def _line(run_dir: Path) -> str:
    return f"{INTERRUPTED}: {_what_follows(run_dir)}"


def _what_follows(run_dir: Path) -> str:
    resumes = (run_dir / NEWEST_CHECKPOINT).exists()
    does = "resumes from the last checkpoint" if resumes else "starts over"
    if "DVC_STAGE" in os.environ or not resumes:
        return f"the next `inv train` {does}"
    return f"the same training {does} with hydra.run.dir={os.path.relpath(run_dir)}"
