"""Ports of this machine."""

import socket


def is_taken(port: int) -> bool:
    """Return whether somebody listens on a port of the loopback.

    It is not bound to find out: that fails for a minute after connections to it, too.
    """
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
