"""Which sweep a command is about: the one that is named, else the latest."""

import argparse
import sys

from ..config.values import nearest
from ..errors import CommandError, enumerated
from . import optimizing, study
from .study import Sweep


def parser(action: str, text: str | None) -> argparse.ArgumentParser:
    """Return a parser with the option that names a sweep."""
    command = argparse.ArgumentParser(prog=f"sweep.{action}", description=text)
    command.add_argument("--name", help="of a sweep; default: the latest")
    return command


def choose(name: str | None, says_which: bool = True) -> Sweep:
    """Open a sweep.

    Args:
        says_which: prints its name where there are several, and none is named.

    Raises:
        CommandError: there is none, none of this name, or its study can't be read.
    """
    optimizing.quiet()
    names = study.names()
    if not names:
        raise CommandError("no sweep so far: inv sweep -- KEY=A,B")
    if name is None:
        name = names[-1]
        if says_which and (others := names[-2::-1]):
            line = f"{name}, the latest sweep; there are also {enumerated(others)} (--name)"
            print(line, file=sys.stderr, flush=True)
    elif name not in names:
        raise CommandError(f"no sweep {name!r}; {nearest(name, names)}")
    return study.open(name)
