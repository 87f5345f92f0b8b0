"""Entry point of the inference process: `python -m app.inference FD DEVICE`. FD is a descriptor of a listening socket.

The process ends when its last connection is closed. It ignores SIGINT, SIGTERM and SIGHUP, which may be sent to the
whole process group: the API processes first complete their requests and then close their connections.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import Any

import structlog
import torch
import uvloop

from app.inference.server import Connection, InferenceServer
from app.inference.shared_memory import map_shared_memory
from app.inference.validation_process import ValidationProcess
from core.logging import configure_logging
from core.process_tuning import freeze_gc

log = structlog.get_logger(__name__)
HANDSHAKE_BYTES, HANDSHAKE_S = 16, 10.0
ALLOCATOR = (
    "MALLOC_TRIM_THRESHOLD_",
    "MALLOC_MMAP_THRESHOLD_",
    "GLIBC_TUNABLES",
    "THP_MEM_ALLOC_ENABLE",
    "GOMP_SPINCOUNT",
)


def main() -> None:
    """Run the inference process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    configure_logging(os.environ.get("CANDELA_LOG_LEVEL", "INFO"))
    listener, device = socket.socket(fileno=int(sys.argv[1])), sys.argv[2]
    validation_processes = ValidationProcess.fork(2, close_fds=(listener.fileno(),))
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    uvloop.run(serve(listener, device, validation_processes))


async def serve(listener: socket.socket, device: str, validation_processes: Sequence[ValidationProcess]) -> None:
    """Serve connections. End the process when the last connection is closed."""
    server = InferenceServer(device, collect_runtime_info(device), validation_processes)
    loop, connections, all_closed = asyncio.get_running_loop(), set[Connection](), asyncio.Event()

    def on_close(connection: Connection) -> None:
        connections.discard(connection)
        if not connections:
            all_closed.set()

    async def accept_connections() -> None:
        while True:
            sock, _ = await asyncio.to_thread(listener.accept)
            sock.settimeout(HANDSHAKE_S)
            try:
                _, (fd,), _, _ = await asyncio.to_thread(socket.recv_fds, sock, HANDSHAKE_BYTES, 1)
            except (OSError, ValueError) as error:
                log.warning("inference.connection_rejected", error=repr(error))
                sock.close()
                continue
            connection = Connection(server, map_shared_memory(fd), os.getpid(), on_close)
            connections.add(connection)
            sock.setblocking(False)
            await loop.connect_accepted_socket(lambda connection=connection: connection, sock)  # type: ignore[misc]

    freeze_gc()
    accept_task = asyncio.create_task(accept_connections())
    await all_closed.wait()
    accept_task.cancel()
    os._exit(0)  # does not wait for threads, because no connection needs their results


def collect_runtime_info(device: str) -> dict[str, Any]:
    """Return the library versions, devices and settings of this process."""
    return {
        "torch": str(torch.__version__),
        "num_gpus": torch.cuda.device_count(),
        "threads": torch.get_num_threads(),
        "device_name": torch.cuda.get_device_name(device) if device.startswith("cuda") else "",
        "environment": {name: os.environ[name] for name in ALLOCATOR if name in os.environ},
    }


if __name__ == "__main__":
    main()
