"""Ports of this machine."""

import socket
from collections.abc import Callable

from .errors import CommandError


def is_taken(port: int) -> bool:
    """Return whether somebody listens on a port of the loopback.

    It is not bound to find out: that fails for a minute after connections to it, too.
    """
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def require_free(port: int, fix: Callable[[], str] | None = None) -> None:
    """Raise CommandError where somebody listens on a port of the loopback.

    Args:
        fix: asked where the port is taken: returns the command that frees it, "" if there is none.
    """
    if is_taken(port):
        command = fix() if fix else ""
        choose = f"{command}, or choose" if command else "choose"
        raise CommandError(f"port {port} is taken: {choose} another with --port")
