"""The networks in memory: loaded once, off the event loop, the least recently used leaving first."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

import structlog

from app.serving import metrics
from app.serving.backend import LoadedModel
from app.serving.types import BundleRef
from core.errors import NotReady, Overloaded, PredictionFailed, ServiceError, Unavailable

log = structlog.get_logger(__name__)

REMEMBER_FAILURE_S = 5.0
LOAD_WAIT_S = 30.0

Open = Callable[[BundleRef], LoadedModel]
"""Load a bundle and warm it up; it may take long and fail in any way."""


class _Entry:
    """A bundle that is being loaded, is loaded, or could not be."""

    def __init__(self, ref: BundleRef) -> None:
        self.ref = ref
        self.loading: asyncio.Future[LoadedModel | ServiceError]
        self.failed_at: float | None = None

    @property
    def network(self) -> LoadedModel | None:
        outcome = self.loading.result() if self.loading.done() else None
        return None if isinstance(outcome, ServiceError) else outcome


class ModelCache:
    """At most `max_loaded` networks, of at most `max_bytes`; pinned models never leave. Use it from one event loop."""

    def __init__(
        self,
        open_bundle: Open,
        *,
        max_loaded: int,
        max_bytes: int | None = None,
        pinned: Collection[str] = (),
        load_wait_s: float = LOAD_WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open = open_bundle
        self._max_loaded = max_loaded
        self._max_bytes = max_bytes
        self._pinned = frozenset(pinned)
        self._load_wait_s = load_wait_s
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._loaders = ThreadPoolExecutor(max_workers=2, thread_name_prefix="load-model")
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def keys(self) -> list[str]:
        """The bundles in memory or on their way, least recently used first."""
        return list(self._entries)

    @property
    def num_bytes(self) -> int:
        """What the networks in memory take."""
        return sum(network.num_bytes for entry in self._entries.values() if (network := entry.network) is not None)

    def peek(self, ref: BundleRef) -> LoadedModel | None:
        """The network of a bundle that is loaded."""
        entry = self._entries.get(ref.key)
        return entry.network if entry else None

    async def get(self, ref: BundleRef) -> LoadedModel:
        """The network of a bundle, loaded if it is not; all who ask meanwhile wait for the one load.

        Raises:
            NotReady: loading takes longer than a request should wait; it goes on.
            Overloaded: as many others are being loaded as may be in memory.
            Corrupt, PredictionFailed: it cannot be loaded; this is remembered for some seconds.
        """
        entry = self._entries.get(ref.key)
        if entry is None or self._is_forgotten(entry):
            entry = self._begin(ref)
        self._entries.move_to_end(ref.key)
        outcome = await self._outcome(ref, entry)
        if isinstance(outcome, ServiceError):
            raise outcome.with_traceback(None)  # the same object is raised for many: its traceback must not grow
        return outcome

    def drop(self, ref: BundleRef) -> None:
        """Let a bundle go; what waits for it is still answered."""
        self._drop(ref.key)

    def invalidate_lost(self) -> list[BundleRef]:
        """Forget the networks that have gone with their process; which they were, least recently used first."""
        lost = [entry for entry in self._entries.values() if (network := entry.network) and network.is_lost]
        for entry in lost:
            self._drop(entry.ref.key)
        return [entry.ref for entry in lost]

    async def close(self) -> None:
        """Answer what waits, then let everything go."""
        self._loaders.shutdown(wait=False, cancel_futures=True)
        entries, self._entries = list(self._entries.values()), OrderedDict()
        for entry in entries:
            if not entry.loading.done():
                entry.loading.cancel()
            elif entry.network is not None:
                self._leave(entry.network)
        await asyncio.gather(*self._leaving)

    async def _outcome(self, ref: BundleRef, entry: _Entry) -> LoadedModel | ServiceError:
        if entry.loading.done():
            return entry.loading.result()
        try:
            async with asyncio.timeout(self._load_wait_s):
                return await asyncio.shield(entry.loading)  # whoever leaves does not stop the load for the others
        except TimeoutError:
            raise NotReady(f"Model {ref.model!r} is still being loaded.", retry_after_s=5) from None

    def _is_forgotten(self, entry: _Entry) -> bool:
        return entry.failed_at is not None and self._clock() - entry.failed_at >= REMEMBER_FAILURE_S

    def _begin(self, ref: BundleRef) -> _Entry:
        self._entries.pop(ref.key, None)
        while len(self._entries) >= self._max_loaded:
            self._evict_one()
        entry = self._entries[ref.key] = _Entry(ref)
        entry.loading = asyncio.create_task(self._load(ref, entry))
        return entry

    def _evict_one(self) -> None:
        """Idle networks leave before busy ones; what waits for a network that leaves is still answered by it."""
        done = [
            key for key, entry in self._entries.items() if entry.loading.done() and entry.ref.model not in self._pinned
        ]
        if not done:
            raise Overloaded("Too many models are being loaded.", loading=len(self._entries), retry_after_s=2)
        idle = [key for key in done if not (network := self._entries[key].network) or not network.num_waiting]
        self._drop((idle or done)[0])

    def _make_room(self, newest: _Entry, num_bytes: int) -> None:
        """Let networks go until those that are left take no more memory than allowed; one alone may take more."""
        others = [
            entry for entry in self._entries.values() if entry is not newest and entry.ref.model not in self._pinned
        ]
        for entry in sorted(others, key=lambda one: bool(one.network and one.network.num_waiting)):  # idle ones first
            if self._max_bytes is None or self.num_bytes + num_bytes <= self._max_bytes:
                return
            if entry.network is not None:
                self._drop(entry.ref.key)

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None and entry.network is not None:
            self._leave(entry.network)

    def _leave(self, network: LoadedModel) -> None:
        metrics.LOADED.dec()
        network.close()
        leaving = asyncio.create_task(network.join())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    def _forget(self, entry: _Entry) -> None:
        if self._entries.get(entry.ref.key) is entry:
            del self._entries[entry.ref.key]

    async def _load(self, ref: BundleRef, entry: _Entry) -> LoadedModel | ServiceError:
        started_at = self._clock()
        try:
            loop = asyncio.get_running_loop()
            network = await loop.run_in_executor(self._loaders, self._open, ref)
        except Exception as error:  # noqa: BLE001 - a bundle may do anything; it is told, and remembered
            metrics.LOADS.labels("failed").inc()
            log.warning("model.load_failed", model=ref.model, key=ref.key, error=repr(error)[:500])
            if isinstance(error, Unavailable | Overloaded | NotReady):  # no fault of the bundle's
                self._forget(entry)
            entry.failed_at = self._clock()
            return _load_error(ref, error)
        metrics.LOADS.labels("loaded").inc()
        metrics.LOADED.inc()
        if self._entries.get(ref.key) is not entry:  # dropped meanwhile; those who waited for it ask again
            self._leave(network)
        self._make_room(entry, network.num_bytes)
        log.info("model.loaded", model=ref.model, key=ref.key, seconds=round(self._clock() - started_at, 3))
        return network


def _load_error(ref: BundleRef, error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    return PredictionFailed(f"Model {ref.model!r} could not be loaded.", reason=type(error).__name__)
