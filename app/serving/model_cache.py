"""An LRU cache of loaded models. Models are loaded in threads, so that loading does not block the event loop.

The total size of the models is limited. Their number is limited too, because each model also needs threads. A request
for a model that is not loaded waits for the load, and the load waits for a thread; it is not rejected because other
models are in memory.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import structlog

from app.inference.types import NUM_LOAD_THREADS
from app.serving import metrics
from app.serving.backend import LoadedModel
from app.serving.types import BundleRef, CacheKey
from core.errors import NotReady, Overloaded, PredictionFailed, ServiceError, Unavailable

log = structlog.get_logger(__name__)

FAILURE_TTL_S = 5.0
LOAD_WAIT_S = 30.0
MAX_LOADING = 256
OVERHEAD_BYTES = 256 * 2**10
"""Memory of a loaded model in addition to its weights: its modules, threads and queues in both processes."""


class BundleLoader(Protocol):
    """Loads bundles. Several threads call the methods at the same time. They may block and may raise any exception."""

    def fetch(self, ref: BundleRef, /) -> tuple[Path, int]:
        """Download a bundle. Return its folder and the size of its files in bytes."""

    def load(self, ref: BundleRef, folder: Path, /) -> LoadedModel:
        """Load a downloaded bundle and warm up the model."""


class _Entry:
    """A bundle that is loading, is loaded, or failed to load.

    Attributes:
        num_bytes: the memory of the model; while it is loaded, an estimate; 0 before its files are there.
        num_callers: number of callers that wait for the load, and have not used the model yet.
    """

    def __init__(self, ref: BundleRef) -> None:
        self.ref = ref
        self.future: asyncio.Future[LoadedModel | ServiceError]
        self.failed_at: float | None = None
        self.num_bytes = 0
        self.num_callers = 0

    @property
    def model(self) -> LoadedModel | None:
        outcome = self.future.result() if self.future.done() else None
        return None if isinstance(outcome, ServiceError) else outcome


class ModelCache:
    """Holds models with a total size of at most `max_bytes`, and at most `max_loaded` models.

    Pinned models are not evicted, and a single model may exceed `max_bytes`. An evicted model is in memory until its
    waiting requests are computed. Use it on one event loop only.
    """

    def __init__(
        self,
        loader: BundleLoader,
        *,
        max_loaded: int,
        max_bytes: int | None = None,
        overhead_bytes: int = OVERHEAD_BYTES,
        load_wait_s: float = LOAD_WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loader = loader
        self._max_loaded = max_loaded
        self._max_bytes = math.inf if max_bytes is None else max_bytes
        self._overhead_bytes = overhead_bytes
        self._pinned: dict[str, CacheKey] = {}
        self._load_wait_s = load_wait_s
        self._clock = clock
        self._entries: OrderedDict[CacheKey, _Entry] = OrderedDict()
        self._load_slots = asyncio.Semaphore(min(NUM_LOAD_THREADS, max_loaded))
        self._load_threads = ThreadPoolExecutor(NUM_LOAD_THREADS, thread_name_prefix="load-model")
        self._closing_tasks: set[asyncio.Task[None]] = set()

    @property
    def keys(self) -> list[CacheKey]:
        """Keys of the models that are loaded, are loading, or just failed to load; least recently used first."""
        return list(self._entries)

    @property
    def num_bytes(self) -> int:
        """Memory of the loaded models, and estimate of that of the models that are being loaded, in bytes."""
        return sum(entry.num_bytes for entry in self._entries.values())

    def pin(self, name: str, ref: BundleRef | None) -> None:
        """Keep the model in memory once it is loaded, instead of the model pinned before by this name; None: neither.

        Only this bundle and output are pinned, not the other versions and variants of the model.
        """
        self._pinned.pop(name, None)
        if ref is not None:
            self._pinned[name] = ref.cache_key

    def peek(self, ref: BundleRef) -> LoadedModel | None:
        """Return the model if it is loaded, without marking it as used."""
        entry = self._entries.get(ref.cache_key)
        return entry.model if entry else None

    async def get(self, ref: BundleRef) -> LoadedModel:
        """Return the model. If it is not loaded, load it once for all concurrent callers.

        Raises:
            NotReady: loading takes longer than `load_wait_s` seconds. The load continues in the background.
            Overloaded: too many other models are loading, or pinned models take all places.
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

    def unload_model(self, name: str) -> None:
        """Remove all bundles and outputs of a model. Checkpoints, which have no version, belong to no model."""
        for entry in list(self._entries.values()):
            if entry.ref.model == name and entry.ref.version:
                self._remove(entry.ref.cache_key)

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
        entry.num_callers += 1
        try:
            async with asyncio.timeout(self._load_wait_s):
                return await asyncio.shield(entry.future)  # a cancelled caller must not cancel the load
        except TimeoutError:
            raise NotReady(f"Model {ref.model!r} is still loading.", retry_after_s=5) from None
        finally:
            entry.num_callers -= 1
            if entry.model is not None:
                self._evict_excess(entry)

    def _is_failure_expired(self, entry: _Entry) -> bool:
        return entry.failed_at is not None and self._clock() - entry.failed_at >= FAILURE_TTL_S

    def _start_load(self, ref: BundleRef) -> _Entry:
        key = ref.cache_key
        for failed in [entry for entry in self._entries.values() if self._is_failure_expired(entry)]:
            self._discard_entry(failed)
        num_loading = sum(not entry.future.done() for entry in self._entries.values())
        pinned = self._entries.keys() & self._pinned.values()
        if num_loading >= MAX_LOADING:
            raise Overloaded("Too many models are being loaded.", loading=num_loading, retry_after_s=2)
        if key not in self._pinned.values() and len(pinned) >= self._max_loaded:
            raise Overloaded("Pinned models take all places in memory.", pinned=len(pinned), retry_after_s=60)
        entry = self._entries[key] = _Entry(ref)
        entry.future = asyncio.create_task(self._load(ref, entry))
        return entry

    def _set_size(self, entry: _Entry, num_bytes: int) -> None:
        entry.num_bytes = num_bytes + self._overhead_bytes
        self._evict_excess(entry)

    def _evict_excess(self, newest: _Entry) -> None:
        """Remove other models until the newest one fits: idle ones first, least recently used first.

        The requests of a busy model are still computed. A model is not removed before its callers have used it once.
        """
        excess_bytes = self.num_bytes - self._max_bytes
        num_excess = sum(bool(entry.num_bytes) for entry in self._entries.values()) - self._max_loaded
        if excess_bytes <= 0 and num_excess <= 0:
            return
        pinned = set(self._pinned.values())
        others = [
            entry
            for key, entry in self._entries.items()
            if entry is not newest and entry.model and not entry.num_callers and key not in pinned
        ]
        for entry in sorted(others, key=lambda other: bool(other.model and other.model.num_waiting)):
            self._remove(entry.ref.cache_key)
            excess_bytes -= entry.num_bytes
            num_excess -= bool(entry.num_bytes)
            if excess_bytes <= 0 and num_excess <= 0:
                return

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
        started_at, loop = self._clock(), asyncio.get_running_loop()
        try:
            async with self._load_slots:
                folder, num_bytes = await loop.run_in_executor(self._load_threads, self._loader.fetch, ref)
                self._set_size(entry, num_bytes)  # evicts others before the model is loaded
                model = await loop.run_in_executor(self._load_threads, self._loader.load, ref, folder)
        except Exception as error:  # noqa: BLE001 - the loader may raise any exception
            metrics.LOADS.labels("failed").inc()
            log.warning("model.load_failed", model=ref.model, key=ref.key, error=repr(error)[:500])
            if isinstance(error, Unavailable | Overloaded | NotReady):  # not cached, because these errors are temporary
                self._discard_entry(entry)
            entry.num_bytes, entry.failed_at = 0, self._clock()
            return _convert_load_error(ref, error)
        metrics.LOADS.labels("loaded").inc()
        metrics.MODELS_LOADED.inc()
        if self._entries.get(ref.cache_key) is entry:
            self._set_size(entry, model.num_bytes)
        else:  # the entry was removed during the load: unload the model
            self._close_model(model)
        log.info("model.loaded", model=ref.model, key=ref.key, seconds=round(self._clock() - started_at, 3))
        return model


def _convert_load_error(ref: BundleRef, error: Exception) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    return PredictionFailed(f"Model {ref.model!r} could not be loaded.", reason=type(error).__name__)
