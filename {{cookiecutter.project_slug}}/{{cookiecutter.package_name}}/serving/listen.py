"""Running an application behind a port, and ending it without a request that gets no answer."""

import asyncio
import gc
import logging
import signal
import socket
import sys
from types import FrameType

import uvicorn
from starlette.types import ASGIApp, Scope

from . import observe, starter

KEEP_ALIVE_SECONDS = 5  # how long a connection on which nothing is asked stays open
DRAINING = "draining"  # in the state of a request
CLOSE = (b"connection", b"close")


class Server(uvicorn.Server):
    """An uvicorn that drains before it shuts down at SIGTERM.

    uvicorn closes every connection on which nothing is asked at once, and a request that is on its
    way there gets no answer. While this drains, each answer says `Connection: close`, which asks
    the client for a new connection, and what asks nothing ends after its keep-alive time as ever.
    """

    drains = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Note the signal. Whoever types Ctrl-C is not kept waiting."""
        self.drains = sig == signal.SIGTERM
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, after draining."""
        if self.drains:
            await self._drain()
        await super().shutdown(sockets)

    async def _drain(self) -> None:
        self.lifespan.state[DRAINING] = True
        self.server_state.default_headers.append(CLOSE)  # of each answer from now on
        loop = asyncio.get_running_loop()
        end = loop.time() + KEEP_ALIVE_SECONDS + 0.5
        while self.drains and self.server_state.connections and loop.time() < end:
            await asyncio.sleep(0.05)


def is_draining(scope: Scope) -> bool:
    """Return whether the server of a request is about to end."""
    return DRAINING in scope["state"]


def listen(app: ASGIApp, address: str, port: int, timeout: float) -> None:
    """Run an application until SIGTERM or Ctrl-C, which end it with exit code 0.

    Args:
        timeout: seconds that what it was asked may take, then.
    """
    observe.log.addHandler(logging.StreamHandler(sys.stdout))
    observe.log.setLevel(logging.INFO)
    for number in (signal.SIGTERM, signal.SIGINT):  # which uvicorn raises again at its end
        signal.signal(number, lambda *_: sys.exit(0))
    starter.watch()
    gc.freeze()  # what is there now stays: to look through it again and again delays answers
    config = uvicorn.Config(
        app,
        host=address,
        port=port,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(timeout) + 2,
    )
    Server(config).run()
