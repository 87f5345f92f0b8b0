"""An LRU cache of loaded models. Models are loaded in threads, so that loading does not block the event loop."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor

import structlog

from app.serving import metrics
from app.serving.backend import LoadedModel
from app.serving.types import BundleRef, CacheKey
from core.errors import NotReady, Overloaded, PredictionFailed, ServiceError, Unavailable

log = structlog.get_logger(__name__)

FAILURE_TTL_S = 5.0
LOAD_WAIT_S = 30.0

Loader = Callable[[BundleRef], LoadedModel]
"""Loads a bundle and warms up the model. The function may block and may raise any exception."""


class _Entry:
    """A bundle that is loading, is loaded, or failed to load."""

    def __init__(self, ref: BundleRef) -> None:
        self.ref = ref
        self.future: asyncio.Future[LoadedModel | ServiceError]
        self.failed_at: float | None = None

    @property
    def model(self) -> LoadedModel | None:
        outcome = self.future.result() if self.future.done() else None
        return None if isinstance(outcome, ServiceError) else outcome


class ModelCache:
    """Holds at most `max_loaded` models with a total size of at most `max_bytes`. Pinned models are not evicted.

    Use it on one event loop only.
    """

    def __init__(
        self,
        loader: Loader,
        *,
        max_loaded: int,
        max_bytes: int | None = None,
        pinned: Collection[str] = (),
        load_wait_s: float = LOAD_WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loader = loader
        self._max_loaded = max_loaded
        self._max_bytes = max_bytes
        self._pinned = frozenset(pinned)
        self._load_wait_s = load_wait_s
        self._clock = clock
        self._entries: OrderedDict[CacheKey, _Entry] = OrderedDict()
        self._load_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="load-model")
        self._closing_tasks: set[asyncio.Task[None]] = set()

    @property
    def keys(self) -> list[CacheKey]:
        """Keys of the models that are loaded, are loading, or just failed to load; least recently used first."""
        return list(self._entries)

    @property
    def num_bytes(self) -> int:
        """Total size of the loaded models in bytes."""
        return sum(model.num_bytes for entry in self._entries.values() if (model := entry.model) is not None)

    def peek(self, ref: BundleRef) -> LoadedModel | None:
        """Return the model if it is loaded, without marking it as used."""
        entry = self._entries.get(ref.cache_key)
        return entry.model if entry else None

    async def get(self, ref: BundleRef) -> LoadedModel:
        """Return the model. If it is not loaded, load it once for all concurrent callers.

        Raises:
            NotReady: loading takes longer than `load_wait_s` seconds. The load continues in the background.
            Overloaded: too many other models are loading.
            CorruptFile, PredictionFailed: the model cannot be loaded; the error is cached for `FAILURE_TTL_S` seconds.
        """
        key = ref.cache_key
        entry = self._entries.get(key)
        if entry is None or self._is_failure_expired(entry):
            entry = self._start_load(ref)
        self._entries.move_to_end(key)
        outcome = await self._wait_for_load(ref, entry)
        if isinstance(outcome, ServiceError):
            raise outcome.with_traceback(None)  # otherwise the traceback grows each time the cached error is raised
        return outcome

    def unload(self, ref: BundleRef) -> None:
        """Remove a model. Its waiting requests are still computed."""
        self._remove(ref.cache_key)

    def invalidate_lost_models(self) -> list[BundleRef]:
        """Remove the models whose inference process has ended. Return their references, least recently used first."""
        lost = [entry for entry in self._entries.values() if (model := entry.model) and model.is_lost]
        for entry in lost:
            self._remove(entry.ref.cache_key)
        return [entry.ref for entry in lost]

    async def close(self) -> None:
        """Complete waiting requests, then remove every model."""
        self._load_threads.shutdown(wait=False, cancel_futures=True)
        entries, self._entries = list(self._entries.values()), OrderedDict()
        for entry in entries:
            if not entry.future.done():
                entry.future.cancel()
            elif entry.model is not None:
                self._close_model(entry.model)
        await asyncio.gather(*self._closing_tasks)

    async def _wait_for_load(self, ref: BundleRef, entry: _Entry) -> LoadedModel | ServiceError:
        if entry.future.done():
            return entry.future.result()
        try:
            async with asyncio.timeout(self._load_wait_s):
                return await asyncio.shield(entry.future)  # a cancelled caller must not cancel the load
        except TimeoutError:
            raise NotReady(f"Model {ref.model!r} is still loading.", retry_after_s=5) from None

    def _is_failure_expired(self, entry: _Entry) -> bool:
        return entry.failed_at is not None and self._clock() - entry.failed_at >= FAILURE_TTL_S

    def _start_load(self, ref: BundleRef) -> _Entry:
        key = ref.cache_key
        self._entries.pop(key, None)
        while len(self._entries) >= self._max_loaded:
            self._evict_one()
        entry = self._entries[key] = _Entry(ref)
        entry.future = asyncio.create_task(self._load(ref, entry))
        return entry

    def _evict_one(self) -> None:
        """Remove the least recently used model, idle models first. The requests of a busy model are still computed."""
        candidates = [
            key for key, entry in self._entries.items() if entry.future.done() and entry.ref.model not in self._pinned
        ]
        if not candidates:
            raise Overloaded("Too many models are being loaded.", loading=len(self._entries), retry_after_s=2)
        idle = [key for key in candidates if not (model := self._entries[key].model) or not model.num_waiting]
        self._remove((idle or candidates)[0])

    def _free_memory(self, newest: _Entry, num_bytes: int) -> None:
        """Remove models, idle models first, until the newest model fits. A single model may exceed `max_bytes`."""
        others = [
            entry for entry in self._entries.values() if entry is not newest and entry.ref.model not in self._pinned
        ]
        for entry in sorted(others, key=lambda other: bool(other.model and other.model.num_waiting)):
            if self._max_bytes is None or self.num_bytes + num_bytes <= self._max_bytes:
                return
            if entry.model is not None:
                self._remove(entry.ref.cache_key)

    def _remove(self, key: CacheKey) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None and entry.model is not None:
            self._close_model(entry.model)

    def _close_model(self, model: LoadedModel) -> None:
        metrics.MODELS_LOADED.dec()
        model.close()
        task = asyncio.create_task(model.join())
        self._closing_tasks.add(task)
        task.add_done_callback(self._closing_tasks.discard)

    def _discard_entry(self, entry: _Entry) -> None:
        key = entry.ref.cache_key
        if self._entries.get(key) is entry:
            del self._entries[key]

    async def _load(self, ref: BundleRef, entry: _Entry) -> LoadedModel | ServiceError:
        started_at = self._clock()
        try:
            loop = asyncio.get_running_loop()
            model = await loop.run_in_executor(self._load_threads, self._loader, ref)
        except Exception as error:  # noqa: BLE001 - the loader may raise any exception
            metrics.LOADS.labels("failed").inc()
            log.warning("model.load_failed", model=ref.model, key=ref.key, error=repr(error)[:500])
            if isinstance(error, Unavailable | Overloaded | NotReady):  # not cached, because these errors are temporary
                self._discard_entry(entry)
            entry.failed_at = self._clock()
            return _convert_load_error(ref, error)
        metrics.LOADS.labels("loaded").inc()
        metrics.MODELS_LOADED.inc()
        if self._entries.get(ref.cache_key) is not entry:  # the entry was removed during the load: unload the model
            self._close_model(model)
        self._free_memory(entry, model.num_bytes)
        log.info("model.loaded", model=ref.model, key=ref.key, seconds=round(self._clock() - started_at, 3))
        return model


def _convert_load_error(ref: BundleRef, error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    return PredictionFailed(f"Model {ref.model!r} could not be loaded.", reason=type(error).__name__)
