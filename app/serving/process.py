"""A process with networks as its owner sees it: started on a leash, listened to, and started again when it ends."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from app.inference.protocol import Load, Loaded, Ping, ServerInfo
from app.inference.shared_memory import SharedMemoryPool
from app.serving.backend import BatchListener, LoadOptions
from app.serving.client import InferenceClient, process_unavailable
from app.serving.leader_lock import LeaderLock, connect, listen_unix
from app.serving.remote_model import RemoteModel
from app.serving.types import BundleRef
from core.errors import ServiceError, Unavailable
from core.parent_death import die_with_parent

log = structlog.get_logger(__name__)
ROOT = Path(__file__).resolve().parents[2]
BEAT_S, SILENCE_S = 0.5, 1.25  # together: how late one learns that the process is frozen
START_S = 180.0  # a cold disk may need a minute to read torch
HANGS_S = 120.0  # so long silent, it is killed
STEADY_S = 30.0  # a process that lived so long starts again at once
JOIN_AGAIN_S = 0.1
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
ARENA_BYTES = 2**30  # address space; what was never used takes no memory
# The allocator keeps what it has: else the kernel faults every batch's activations in and out again.
# Threads of OpenMP spin for a moment only, then sleep: several networks share the processors.
ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "THP_MEM_ALLOC_ENABLE": "1",
    "GOMP_SPINCOUNT": "1000",
}


class InferenceProcess:
    """One process for one device. Use it on one event loop, but for what says otherwise."""

    def __init__(self, device: str, *, meeting: LeaderLock | None = None, arena_bytes: int = ARENA_BYTES) -> None:
        """`device` is `cpu`, `cuda:0`, or `auto`: the first GPU, or the CPU where there is none.

        With a `meeting`, the first of several HTTP processes starts it, and the others use the same.
        """
        self.welcome: ServerInfo | None = None
        self.pid: int | None = None
        self._device = device
        self._meeting = meeting
        self._arena_bytes = arena_bytes
        self._link: InferenceClient | None = None
        self._pinged_at: float | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of whoever started it."""
        assert self._watching is not None  # noqa: S101 - started before anything else
        return self._watching.get_loop()

    def start(self, back: Callable[[], None], lost: Callable[[], None]) -> None:
        """Start it and keep it running; hear when it is ready, and when it has ended."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._keep(back, lost))

    async def close(self) -> None:
        """End it; whatever waits for it is lost."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    def ready_link(self) -> InferenceClient:
        """The connection; callable by any thread.

        Raises:
            Unavailable: it starts, has ended or does not answer.
        """
        if self._link is None:
            raise (
                process_unavailable() if self.welcome else Unavailable("The networks' process starts.", retry_after_s=2)
            )
        if self._pinged_at is not None and time.monotonic() - self._pinged_at > SILENCE_S:
            raise Unavailable("The process that runs the networks does not answer.", retry_after_s=2)
        return self._link

    async def load(self, ref: BundleRef, folder: Path, allowed: LoadOptions, heard: BatchListener) -> RemoteModel:
        """Raises Corrupt, PredictionFailed, Unavailable."""
        link = self.ready_link()
        loaded: Loaded = await link.request(lambda id: Load(id, ref.key, str(folder), ref.model, *allowed))
        return RemoteModel(link, loaded, ref, allowed, heard)

    async def _keep(self, back: Callable[[], None], lost: Callable[[], None]) -> None:
        pause_s = 0.0
        while True:
            started_at = time.monotonic()
            try:
                await self._run(back, lost)
            except (OSError, ServiceError) as error:  # a TimeoutError is an OSError
                log.warning("inference.failed", device=self._device, error=str(error))
            lived_s = time.monotonic() - started_at
            pause_s = 0.0 if lived_s > STEADY_S else min(max(SHORTEST_PAUSE_S, 2 * pause_s), LONGEST_PAUSE_S)
            log.warning("inference.ended", device=self._device, lived_s=round(lived_s, 1), pause_s=pause_s)
            await asyncio.sleep(pause_s)

    async def _run(self, back: Callable[[], None], lost: Callable[[], None]) -> None:
        """One life of the process, from its start to its end."""
        arena, ended = SharedMemoryPool(self._arena_bytes), asyncio.Event()
        process, sock = await self._connected(arena.fd)

        def end() -> None:  # as soon as the connection is lost: nobody may be sent to its networks any more
            self._link = None
            ended.set()
            lost()

        link = InferenceClient(arena, end)
        try:
            self.pid = None if process is None else process.pid
            await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=sock)
            async with asyncio.timeout(START_S):
                self.welcome = await link.welcome
            self._link, self._pinged_at, self.pid = link, None, self.welcome.pid
            log.info("inference.ready", device=self.welcome.device, pid=self.pid, **self.welcome.facts)
            back()
            beating = asyncio.create_task(self._beat(link, process))
            try:
                await ended.wait()
            finally:
                beating.cancel()
        finally:
            self._link = self.pid = None
            link.close()
            if process is not None:
                process.kill()
                await asyncio.to_thread(process.wait)
            if self._meeting is not None:
                self._meeting.release()
            arena.close()

    async def _connected(self, arena_fd: int) -> "tuple[subprocess.Popen[bytes] | None, socket.socket]":
        """The process, if it is ours to end, and a connection to it."""
        if self._meeting is None:
            with tempfile.TemporaryDirectory(prefix="candela-") as folder:
                return _started(self._device, arena_fd, Path(folder) / "s")
        async with asyncio.timeout(START_S):
            while True:
                if self._meeting.try_acquire():
                    return _started(self._device, arena_fd, self._meeting.path)
                sock = self._meeting.connect(arena_fd)
                if sock is not None:
                    return None, sock
                await asyncio.sleep(JOIN_AGAIN_S)

    async def _beat(self, link: InferenceClient, process: "subprocess.Popen[bytes] | None") -> None:
        while True:
            self._pinged_at = time.monotonic()
            try:
                async with asyncio.timeout(HANGS_S):
                    await link.request(Ping)
            except TimeoutError:
                log.error("inference.hangs", pid=self.pid, seconds=HANGS_S)  # noqa: TRY400 - its trace is ours
                if process is None:
                    link.close()
                else:
                    process.send_signal(signal.SIGKILL)
            except ServiceError:
                return
            self._pinged_at = None
            await asyncio.sleep(BEAT_S)


def _started(device: str, arena_fd: int, path: Path) -> "tuple[subprocess.Popen[bytes], socket.socket]":
    """The process, listening at `path`, and a connection on which it has been sent the memory."""
    path.unlink(missing_ok=True)  # of an owner that was killed
    with listen_unix(path) as listener:
        sock = connect(path, arena_fd)
        try:
            process = subprocess.Popen(  # noqa: S603 - the command is ours
                die_with_parent([sys.executable, "-m", "app.inference", str(listener.fileno()), device]),
                env=environment(os.environ),
                cwd=ROOT,  # `-m` looks there first: no folder of the caller's can stand in for our packages
                stdin=subprocess.DEVNULL,
                pass_fds=(listener.fileno(),),
            )
        except BaseException:
            sock.close()
            raise
        return process, sock  # only the process listens now: when it ends, the socket tells


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """What the process is started with: the allocator's settings, unless they are set, and none of our secrets."""
    kept = {name: value for name, value in ours.items() if not name.startswith("CANDELA_")}
    return ALLOCATOR | kept | {"CANDELA_LOG_LEVEL": ours.get("CANDELA_LOG_LEVEL", "INFO")}
