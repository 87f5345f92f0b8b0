"""`python -m app.inference FD DEVICE`: run networks for whoever connects to the listening socket FD.

It ends when nobody is connected any more. Signals that end a whole group of processes do not end it: requests that
are on their way are answered first, and whoever owns it closes the connection last.
"""

import asyncio
import os
import signal
import socket
import sys
from typing import Any

import structlog
import torch
import uvloop

from app.inference.server import Connection, Server
from app.inference.shared_memory import attach
from core.logging import configure_logging
from core.process_tuning import freeze_gc

log = structlog.get_logger(__name__)
HELLO_BYTES, HELLO_S = 16, 10.0
ALLOCATOR = (
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "GLIBC_TUNABLES",
    "THP_MEM_ALLOC_ENABLE",
    "GOMP_SPINCOUNT",
)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    configure_logging(os.environ.get("CANDELA_LOG_LEVEL", "INFO"))
    listener, device = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    uvloop.run(serve(listener, device))


async def serve(listener: socket.socket, device: str) -> None:
    """Answer everybody who connects, until the last one has gone."""
    server = Server(device, facts(device))
    loop, connections, nobody = asyncio.get_running_loop(), set[Connection](), asyncio.Event()

    def lost(connection: Connection) -> None:
        connections.discard(connection)
        if not connections:
            nobody.set()

    async def accept() -> None:
        while True:
            sock, _ = await asyncio.to_thread(listener.accept)
            sock.settimeout(HELLO_S)
            try:
                _, (fd,), _, _ = await asyncio.to_thread(socket.recv_fds, sock, HELLO_BYTES, 1)
            except (OSError, ValueError) as error:
                log.warning("inference.stranger", error=repr(error))
                sock.close()
                continue
            connection = Connection(server, attach(fd), os.getpid(), lost)
            connections.add(connection)
            sock.setblocking(False)
            await loop.connect_accepted_socket(lambda connection=connection: connection, sock)  # type: ignore[misc]

    freeze_gc()
    accepting = asyncio.create_task(accept())
    await nobody.wait()
    accepting.cancel()
    os._exit(0)  # threads that compute or load for nobody are not waited for


def facts(device: str) -> dict[str, Any]:
    """What an operator may want to know of this process."""
    return {
        "torch": str(torch.__version__),
        "num_gpus": torch.cuda.device_count(),
        "threads": torch.get_num_threads(),
        "device_name": torch.cuda.get_device_name(device) if device.startswith("cuda") else "",
        "environment": {name: os.environ[name] for name in ALLOCATOR if name in os.environ},
    }


if __name__ == "__main__":
    main()
