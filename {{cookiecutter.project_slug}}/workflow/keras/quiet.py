"""Imports Keras and its backend without what TensorFlow says of GPUs that are not there.

It writes that from C++ to the error output of the process, before any setting of it counts.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _without_errors() -> Iterator[None]:
    """Drop what the process writes to its error output; an exception is still raised."""
    try:
        number = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # it is no file, as in some notebooks
        yield
        return
    saved, nothing = os.dup(number), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, number)
        yield
    finally:
        os.dup2(saved, number)
        os.close(saved)
        os.close(nothing)


with _without_errors():
    import keras

__all__ = ["keras"]
