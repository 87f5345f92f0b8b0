"""Serves the API on `HOST:PORT`, or on a socket that `candela up` has opened and passes as a file descriptor."""

import resource
import socket
import sys

import uvicorn

from core.startup import load_settings_or_exit

DRAIN_S = 20
DRAIN_OF_UP_S = 10
NUM_OTHER_FILES = 200  # databases, stored files and pipes
KEEP_ALIVE_S = 65  # above the idle timeouts of clients, so that the server does not close a connection in use


def main() -> None:
    address = sys.argv[1] if len(sys.argv) > 1 else ""
    config = uvicorn.Config(
        "app.main:create_app",
        factory=True,
        http="app.http.uvicorn_protocol:CoalescingHttpProtocol",
        ws="none",
        proxy_headers=False,  # the application reads them, if CANDELA_TRUSTED_PROXIES names the proxy
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_OF_UP_S if address.isdecimal() else DRAIN_S,
    )
    listener = open_socket(address, config)
    max_connections = load_settings_or_exit().max_connections
    max_files = raise_file_limit(max_connections + NUM_OTHER_FILES)
    config.limit_concurrency = max(1, min(max_connections, max_files - NUM_OTHER_FILES))
    server = uvicorn.Server(config)
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(3)


def raise_file_limit(num_files: int) -> int:
    """Raise this process's soft limit of open files to `num_files`, at most to its hard limit. Return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return num_files
    raised = num_files if hard == resource.RLIM_INFINITY else min(num_files, hard)
    if raised > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    return max(raised, soft)


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
