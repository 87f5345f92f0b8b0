"""Serve the API on a socket that was opened by `candela up`: `python -m candela.serve FD`."""

import socket
import sys

import uvicorn

DRAIN_S = 10
KEEP_ALIVE_S = 65  # longer than clients keep idle connections, so that the server never closes one under a request


def main() -> None:
    # `uvicorn --fd` would take it for a Unix socket, and keep a second descriptor open while it drains.
    listener = socket.socket(fileno=int(sys.argv[1]))
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(3)


if __name__ == "__main__":
    main()
