"""Serves the API on `HOST:PORT`, or on a socket that `candela up` has opened and passes as a file descriptor."""

import socket
import sys

import uvicorn

DRAIN_S = 20
DRAIN_OF_UP_S = 10
KEEP_ALIVE_S = 65  # longer than idle timeouts of clients, so that clients close idle connections first


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
    """Return a socket for `address`, a file descriptor or `HOST:PORT`. Exit the process if `address` is neither."""
    if address.isdecimal():
        # Not `uvicorn --fd`: it treats the socket as a Unix socket and keeps a second descriptor open while it drains.
        return socket.socket(fileno=int(address))
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        sys.exit("usage: python -m candela.serve HOST:PORT, such as 0.0.0.0:8000 or [::]:8000")
    config.host, config.port = host.strip("[]"), int(port)
    return config.bind_socket()


if __name__ == "__main__":
    main()
