"""Running an application behind a port."""

import gc
import logging
import signal
import sys

import uvicorn
from starlette.types import ASGIApp

from . import observe, starter


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
    uvicorn.run(
        app,
        host=address,
        port=port,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(timeout) + 2,
    )
