"""Running an application on a port, and stopping it with every request answered."""

import argparse
import asyncio
import gc
import logging
import signal
import socket
import sys

import uvicorn
from starlette.types import ASGIApp, Scope

from . import observe, starter

KEEP_ALIVE_SECONDS = 5  # how long a connection on which nothing is asked stays open
DRAINING = "draining"  # in the state of a request
CLOSE = (b"connection", b"close")


class Server(uvicorn.Server):
    """An uvicorn that drains before it shuts down.

    uvicorn closes every connection on which nothing is asked at once, and a request that is on its
    way there gets no answer. While this drains, each answer says `Connection: close`, which asks
    the client for a new connection, and what asks nothing ends after its keep-alive time as ever.
    """

    def __init__(self, config: uvicorn.Config, drain: float) -> None:
        """Args: drain: how many seconds that may take; fewer where no connection is left."""
        super().__init__(config)
        self.drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End, after draining."""
        self.lifespan.state[DRAINING] = True
        self.server_state.default_headers.append(CLOSE)  # of each answer from now on
        loop = asyncio.get_running_loop()
        end = loop.time() + self.drain
        while self.server_state.connections and loop.time() < end and not self.force_exit:
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)


def is_draining(scope: Scope) -> bool:
    """Return whether the server of a request is shutting down."""
    return DRAINING in scope["state"]


def arguments(about: str | None) -> argparse.Namespace:
    """Return the options of a server's command line."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--drain",
        type=float,
        default=KEEP_ALIVE_SECONDS + 0.5,
        help="seconds that it answers for after SIGTERM, while clients keep their connections",
    )
    return parser.parse_args()


def listen(app: ASGIApp, options: argparse.Namespace, timeout: float) -> None:
    """Run an application until SIGTERM or Ctrl-C, which end it with exit code 0.

    Args:
        options: of the command line, as `arguments` returns them.
        timeout: seconds that what it was asked may take, then.
    """
    observe.log.addHandler(logging.StreamHandler(sys.stdout))
    observe.log.setLevel(logging.INFO)
    for number in (signal.SIGTERM, signal.SIGINT):  # which uvicorn raises again at its end
        signal.signal(number, lambda *_: sys.exit(0))
    starter.watch()
    gc.freeze()  # what is there now stays: to check it again and again delays answers
    config = uvicorn.Config(
        app,
        host=options.address,
        port=options.port,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(timeout) + 2,
    )
    Server(config, options.drain).run()
