"""Optuna's dashboard of a sweep, at a port of the loopback.

python -m workflow.sweeps.dashboard [--name NAME] [--port PORT]    until Ctrl-C
"""

import signal
from collections.abc import Sequence
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from ..errors import CommandError
from ..ports import require_free
from ..serving import starter
from .choice import choose, parser

LOOPBACK = "127.0.0.1"
PORT = 8080


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a connection that a browser keeps does not hold up the end


class Handler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing for each request."""


def main(arguments: Sequence[str] | None = None) -> None:
    command = parser("dashboard", __doc__)
    command.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}")
    options = command.parse_args(arguments)
    try:
        require_free(options.port)
        sweep = choose(options.name)
    except CommandError as error:
        raise SystemExit(f"sweep.dashboard: {error}") from None
    from optuna_dashboard import wsgi  # takes a second

    storage = sweep.study._storage
    number = storage.get_study_id_from_name(sweep.study.study_name)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    starter.watch()
    with make_server(LOOPBACK, options.port, wsgi(storage), Server, Handler) as server:
        url = f"http://{LOOPBACK}:{options.port}/dashboard/studies/{number}"
        print(f"sweep.dashboard: {url} (Ctrl-C stops it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("sweep.dashboard: stopped")


if __name__ == "__main__":
    main()
