"""Serve the API: `python -m candela.serve HOST:PORT`, or the descriptor of a socket that `candela up` has opened."""

import socket
import sys

import uvicorn

DRAIN_S = 20
DRAIN_OF_UP_S = 10
KEEP_ALIVE_S = 65  # longer than clients keep idle connections, so that the server never closes one under a request


def main() -> None:
    where = sys.argv[1]
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        http="app.wire:Protocol",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_OF_UP_S if where.isdecimal() else DRAIN_S,
    )
    if where.isdecimal():
        # `uvicorn --fd` would take it for a Unix socket, and keep a second descriptor open while it drains.
        listener = socket.socket(fileno=int(where))
    else:
        config.host, _, port = where.rpartition(":")
        config.port = int(port)
        listener = config.bind_socket()
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(3)


if __name__ == "__main__":
    main()
