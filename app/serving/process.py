"""Manages one inference process: starts it, connects to it, sends heartbeats, and restarts it when it ends."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import structlog

from app.inference.protocol import Load, LoadResult, Ping, ServerInfo
from app.inference.shared_memory import SharedMemoryPool
from app.serving.backend import BatchListener, LoadOptions
from app.serving.client import InferenceClient, make_unavailable_error
from app.serving.leader_lock import LeaderLock, connect_unix, listen_unix
from app.serving.remote_model import RemoteModel
from app.serving.types import BundleRef
from core.child_environment import build_child_environment
from core.errors import ServiceError, Unavailable
from core.parent_death import die_with_parent
from core.python_process import PYTHON, ROOT, set_import_path

log = structlog.get_logger(__name__)
HEARTBEAT_S, HEARTBEAT_TIMEOUT_S = 0.5, 1.25  # a frozen process is detected within the sum of the two
START_S = 180.0  # start timeout; importing torch from a slow disk may take a minute
HANG_S = 120.0  # a process that does not respond for this long is killed
STABLE_S = 30.0  # a process that ran this long is restarted without a pause
CONNECT_INTERVAL_S = 0.1
MIN_PAUSE_S, MAX_PAUSE_S = 0.5, 30.0
SHARED_MEMORY_BYTES = 2**30  # size of the address space; unused pages take no memory
# Make the allocator keep freed memory: otherwise the activations of each batch cause page faults.
# Make OpenMP threads sleep after spinning briefly, because several models share the processors.
ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "THP_MEM_ALLOC_ENABLE": "1",
    "GOMP_SPINCOUNT": "1000",
}


class InferenceProcess:
    """Manages the inference process of one device. Use it on one event loop, except where any thread is allowed."""

    def __init__(
        self,
        device: str,
        *,
        leader_lock: LeaderLock | None = None,
        shared_memory_bytes: int = SHARED_MEMORY_BYTES,
        extra_variables: Collection[str] = (),
    ) -> None:
        """Initialize with the device: `cpu`, `cuda:0`, … or `auto` (the first GPU, or the CPU if there is no GPU).

        With a `leader_lock`, the first API process starts the inference process, and the others connect to it.
        """
        self.server_info: ServerInfo | None = None
        self.pid: int | None = None
        self._device = device
        self._leader_lock = leader_lock
        self._shared_memory_bytes = shared_memory_bytes
        self._environment = build_environment(os.environ, extra_variables)
        self._client: InferenceClient | None = None
        self._pinged_at: float | None = None
        self._run_task: asyncio.Task[None] | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop on which `start` was called."""
        assert self._run_task is not None  # noqa: S101 - callers call `start` first
        return self._run_task.get_loop()

    def start(self, on_ready: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Start the process and restart it whenever it ends.

        Args:
            on_ready: called each time the process becomes ready.
            on_lost: called each time the process ends.
        """
        if self._run_task is None:
            self._run_task = asyncio.create_task(self._run_forever(on_ready, on_lost))

    async def close(self) -> None:
        """Stop the process. Waiting requests fail."""
        if self._run_task is not None:
            self._run_task.cancel()
            await asyncio.gather(self._run_task, return_exceptions=True)

    def get_client(self) -> InferenceClient:
        """Return the client of the process. Any thread may call this method.

        Raises:
            Unavailable: the process is starting, has ended or does not respond.
        """
        if self._client is None:
            if self.server_info is not None:
                raise make_unavailable_error()
            raise Unavailable("The inference process is starting.", retry_after_s=2)
        if self._pinged_at is not None and time.monotonic() - self._pinged_at > HEARTBEAT_TIMEOUT_S:
            raise Unavailable("The inference process does not respond.", retry_after_s=2)
        return self._client

    async def load_model(
        self, ref: BundleRef, folder: Path, options: LoadOptions, listener: BatchListener
    ) -> RemoteModel:
        """Load a bundle. Raises CorruptFile, PredictionFailed, Unavailable."""
        client = self.get_client()
        result: LoadResult = await client.request(
            lambda id: Load(id, ref.key, ref.output, str(folder), ref.model, *options)
        )
        return RemoteModel(client, result, ref, options, listener)

    async def _run_forever(self, on_ready: Callable[[], None], on_lost: Callable[[], None]) -> None:
        pause_s = 0.0
        while True:
            started_at = time.monotonic()
            try:
                await self._run_once(on_ready, on_lost)
            except (OSError, ServiceError) as error:  # OSError includes TimeoutError
                log.warning("inference.failed", device=self._device, error=str(error))
            lived_s = time.monotonic() - started_at
            pause_s = 0.0 if lived_s > STABLE_S else min(max(MIN_PAUSE_S, 2 * pause_s), MAX_PAUSE_S)
            log.warning("inference.ended", device=self._device, lived_s=round(lived_s, 1), pause_s=pause_s)
            await asyncio.sleep(pause_s)

    async def _run_once(self, on_ready: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Start the process or connect to it, and return when it has ended."""
        shared_memory, ended = SharedMemoryPool(self._shared_memory_bytes), asyncio.Event()
        process, sock = await self._connect(shared_memory.fd)

        def handle_loss() -> None:  # called as soon as the connection is lost, so that lost models get no requests
            self._client = None
            ended.set()
            on_lost()

        client = InferenceClient(shared_memory, handle_loss)
        try:
            self.pid = None if process is None else process.pid
            await asyncio.get_running_loop().create_unix_connection(lambda: client, sock=sock)
            async with asyncio.timeout(START_S):
                self.server_info = await client.server_info
            self._client, self._pinged_at, self.pid = client, None, self.server_info.pid
            log.info("inference.ready", device=self.server_info.device, pid=self.pid, **self.server_info.runtime_info)
            on_ready()
            heartbeat_task = asyncio.create_task(self._send_heartbeats(client, process))
            try:
                await ended.wait()
            finally:
                heartbeat_task.cancel()
        finally:
            self._client = self.pid = None
            client.close()
            if process is not None:
                process.kill()
                await asyncio.to_thread(process.wait)
            if self._leader_lock is not None:
                self._leader_lock.release()
            shared_memory.close()

    async def _connect(self, memory_fd: int) -> "tuple[subprocess.Popen[bytes] | None, socket.socket]":
        """Return the process and a connection to it. The process is None if a different API process started it."""
        if self._leader_lock is None:
            with tempfile.TemporaryDirectory(prefix="candela-") as folder:
                return _start_process(self._device, memory_fd, Path(folder) / "s", self._environment)
        async with asyncio.timeout(START_S):
            while True:
                if self._leader_lock.try_acquire():
                    return _start_process(self._device, memory_fd, self._leader_lock.path, self._environment)
                sock = self._leader_lock.connect(memory_fd)
                if sock is not None:
                    return None, sock
                await asyncio.sleep(CONNECT_INTERVAL_S)

    async def _send_heartbeats(self, client: InferenceClient, process: "subprocess.Popen[bytes] | None") -> None:
        while True:
            self._pinged_at = time.monotonic()
            try:
                async with asyncio.timeout(HANG_S):
                    await client.request(Ping)
            except TimeoutError:
                log.error("inference.timed_out", pid=self.pid, seconds=HANG_S)  # noqa: TRY400 - no traceback needed
                if process is None:
                    client.close()
                else:
                    process.send_signal(signal.SIGKILL)
            except ServiceError:
                return
            self._pinged_at = None
            await asyncio.sleep(HEARTBEAT_S)


def _start_process(
    device: str, memory_fd: int, path: Path, environment: Mapping[str, str]
) -> "tuple[subprocess.Popen[bytes], socket.socket]":
    """Start a process that listens at `path`. Return it and a connection that has sent the shared memory."""
    path.unlink(missing_ok=True)  # a process that was killed may have left the socket file
    with listen_unix(path) as listener:
        sock = connect_unix(path, memory_fd)
        try:
            process = subprocess.Popen(  # noqa: S603 - the command is fixed
                die_with_parent([*PYTHON, "-m", "app.inference", str(listener.fileno()), device]),
                env=environment,
                cwd=ROOT,  # the process must not depend on the caller's folder
                stdin=subprocess.DEVNULL,
                pass_fds=(listener.fileno(),),
            )
        except BaseException:
            sock.close()
            raise
        return process, sock  # only the new process holds the listening socket now


def build_environment(parent: Mapping[str, str], extra_variables: Collection[str] = ()) -> dict[str, str]:
    """Return the environment variables of the process: without credentials, with allocator and OpenMP settings.

    The process logs at the level of this one, which may be set in lower case or in the file `.env`.
    """
    level = {"CANDELA_LOG_LEVEL": logging.getLevelName(logging.getLogger().level)}
    return set_import_path(ALLOCATOR | build_child_environment(parent, extra_variables) | level)
