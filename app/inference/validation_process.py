"""Validates architectures in child processes that end if they need too much processor time or memory."""

import gc
import multiprocessing
import os
import resource
import signal
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self, cast

import orjson

from app.inference import architectures
from app.inference.protocol import (
    ArchitectureInvalid,
    ArchitectureValid,
    Error,
    Message,
    ValidateArchitecture,
    decode_client_message,
    decode_server_message,
    encode,
    to_error_message,
)
from core.errors import ServiceError, Unavailable
from core.parent_death import set_parent_death_signal
from core.process_tuning import set_niceness

MAX_CPU_S = 5
MAX_WALL_S = 60  # ends a child that sleeps or gets hardly any processor time
MAX_ADDED_BYTES = 2 * 2**30  # address space in addition to that of the parent
NICENESS = 10
_CPU_S = struct.Struct("d")
HEADER_BYTES = 4  # `encode` adds the length, which Connection also does


class ValidationProcess:
    """A process that forks a child for each validation.

    A network that a client describes can take a long time to build. A thread cannot be stopped, but a process can: the
    kernel ends a child that exceeds `MAX_CPU_S`, `MAX_WALL_S` or its memory limit, and later validations get a new
    child. Children share torch with their parent, so that a fork takes a few milliseconds.

    Create it with `fork` before this process starts threads or uses a GPU: both make a fork unsafe.
    """

    def __init__(self, connection: Connection) -> None:
        self.threads = ThreadPoolExecutor(1, thread_name_prefix="validate")  # its thread starts with the first task
        self.cpu_s = 0.0
        """Processor time of the last validation."""
        self._connection = connection

    @classmethod
    def fork(cls, num_processes: int = 1, *, close_fds: tuple[int, ...] = ()) -> list[Self]:
        """Fork processes that end with this process. They close `close_fds`, for example listening sockets."""
        pipes = [multiprocessing.Pipe() for _ in range(num_processes)]
        parent = os.getpid()
        gc.freeze()  # the collector would write to shared pages, and copy them
        if os.fork() == 0:
            for fd in close_fds:
                os.close(fd)
            for ours, _ in pipes:
                ours.close()
            try:
                _serve([theirs for _, theirs in pipes], parent)
            finally:
                os._exit(1)
        for _, theirs in pipes:
            theirs.close()
        return [cls(ours) for ours, _ in pipes]

    def validate(self, request: ValidateArchitecture) -> ArchitectureValid | ArchitectureInvalid | Error:
        """Return the response to a request. Blocks; call it from one thread at a time.

        Raises:
            Unavailable: the process has ended.
        """
        try:
            self._connection.send_bytes(encode(request)[HEADER_BYTES:])
            (self.cpu_s,) = _CPU_S.unpack(self._connection.recv_bytes())
            frame = self._connection.recv_bytes()
        except (OSError, EOFError):
            raise Unavailable("Networks cannot be checked now: the validation process has ended.") from None
        if not frame:
            return ArchitectureInvalid(request.id, b"", "", describe_limits())
        return cast("ArchitectureValid | ArchitectureInvalid | Error", decode_server_message(frame))


def describe_limits() -> str:
    """Return the reason for rejecting a network whose validation was ended."""
    return (
        f"cannot be checked within {MAX_CPU_S} s of processor time and {MAX_ADDED_BYTES // 2**30} GiB of memory; "
        "use fewer or smaller layers"
    )


def _serve(connections: Sequence[Connection], parent: int) -> None:
    """Respond to the requests of the first connection, and fork a process for each other connection."""
    set_parent_death_signal(parent)
    set_niceness(NICENESS)
    _warm_up()
    first, *others = connections
    parent = os.getpid()
    for connection in others:
        if os.fork() == 0:
            set_parent_death_signal(parent)
            first = connection
            break
    while True:
        try:
            frame, cpu_s = _validate_in_child(first.recv_bytes())
            first.send_bytes(_CPU_S.pack(cpu_s))
            first.send_bytes(frame)
        except (OSError, EOFError):
            return


def _warm_up() -> None:
    """Validate typical networks once: torch imports 0.7 s of modules when it first uses the meta device."""
    lstm = {"layers": [{"type": "lstm", "hidden": 2}, {"type": "linear", "out": 2}]}
    for name, options, shape in (("resnet18", {}, (3, 64, 64)), ("layers", lstm, (4, 3))):
        architectures.validate_architecture(ValidateArchitecture(0, name, orjson.dumps(options), shape, 2, ()))
    gc.freeze()


def _validate_in_child(frame: bytes) -> tuple[bytes, float]:
    """Return the response of a new child process and its processor time. The response is empty if it was ended."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        try:
            _limit_resources(parent)
            writer.send_bytes(encode(_validate(frame))[HEADER_BYTES:])
        finally:
            os._exit(0)
    writer.close()
    try:
        response = reader.recv_bytes()
    except EOFError:
        response = b""
    finally:
        reader.close()
        _, _, usage = os.wait4(pid, 0)
    return response, usage.ru_utime + usage.ru_stime


def _limit_resources(parent: int) -> None:
    """Make the kernel end this process when it exceeds a limit or its parent ends."""
    set_parent_death_signal(parent)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(MAX_WALL_S)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S, MAX_CPU_S))
    address_space = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (address_space + MAX_ADDED_BYTES,) * 2)


def _validate(frame: bytes) -> Message:
    request = decode_client_message(frame)
    assert isinstance(request, ValidateArchitecture)  # noqa: S101 - `ValidationProcess.validate` sends nothing else
    try:
        return architectures.validate_architecture(request)
    except MemoryError:
        os._exit(1)
    except Exception as error:  # noqa: BLE001 - the response reports it, and the process ends
        return to_error_message(request.id, ServiceError(f"The network cannot be checked: {type(error).__name__}."))
