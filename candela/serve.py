"""Serves the API. The argument is `HOST:PORT`, or the descriptor of a socket that `candela up` has opened."""

import socket
import sys

import uvicorn

DRAIN_S = 20
DRAIN_OF_UP_S = 10
KEEP_ALIVE_S = 65  # longer than clients keep idle connections, so that the server never closes one during a request


def main() -> None:
    address = sys.argv[1] if len(sys.argv) > 1 else ""
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        http="app.http.uvicorn_protocol:CoalescingHttpProtocol",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_OF_UP_S if address.isdecimal() else DRAIN_S,
    )
    server = uvicorn.Server(config)
    server.run(sockets=[open_socket(address, config)])
    if not server.started:
        sys.exit(3)


def open_socket(address: str, config: uvicorn.Config) -> socket.socket:
    """Return the listening socket for a descriptor or an address. Exit the process if the argument is neither."""
    if address.isdecimal():
        # `uvicorn --fd` would treat it as a Unix socket and keep a second descriptor open while it drains.
        return socket.socket(fileno=int(address))
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        sys.exit("usage: python -m candela.serve HOST:PORT, such as 0.0.0.0:8000 or [::]:8000")
    config.host, config.port = host.strip("[]"), int(port)
    return config.bind_socket()


if __name__ == "__main__":
    main()
