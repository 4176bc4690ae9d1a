"""The error that ends a command, and what messages are made of."""

from collections.abc import Sequence
from pathlib import Path

# What DVC and Hydra print after the reason of a failure.
AFTERWORDS = ("ERROR: failed to reproduce", "Set the environment variable HYDRA_FULL_ERROR")


class CommandError(Exception):
    """What was asked for cannot be done; the text says why and what to type, in one line.

    Where a part of the work handles one kind of it otherwise, that kind is a class of its own.
    """


def one_line(error: object) -> str:
    """Return the text of an error without its line breaks, or its kind where it has no text."""
    return " ".join(str(error).split()) or type(error).__name__


def shortened(error: object, limit: int = 200) -> str:
    """Return the same of an error whose text may be a page, such as a client's of a remote."""
    return one_line(error)[:limit]


def enumerated(names: Sequence[str], limit: int = 8) -> str:
    """Return the first names, and how many more there are: "a, b and 3 more"."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def listed(names: Sequence[str], limit: int = 8) -> str:
    """Return names as a message has them: the first ones, and how many there are."""
    first = ", ".join(names[:limit])
    return f"{first}, … ({len(names)})" if len(names) > limit else first


def failure(log: Path | None) -> str:
    """Return why a training or an experiment failed: the last line of its output that says so."""
    if log is None or not log.exists():
        return "it could not be started"
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reasons = [line for line in lines if not line.startswith(AFTERWORDS)]
    return (reasons or lines or ["it printed nothing"])[-1].removeprefix("ERROR: ")
