"""Caches the model version of each model reference, so that predictions do not wait for the database."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from app.services.prediction.default_variants import DefaultVariants
from app.serving.decoding import ImageShape
from app.serving.types import BundleRef
from core.datasets.columns import Table
from core.db.repos.models import ModelRepo
from core.db.repos.variants import VariantRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import ModelVariantRow, ModelVersionRow
from core.resizing import ResizePolicy

CACHE_TTL_S = 0.5
"""Seconds for which a client may still get the previous version after an alias has changed."""
REFRESH_FRACTION = 0.7
MAX_ENTRIES = 1024
AS_TRAINED = "none"
_Key = tuple[str, str | None]
"""A reference to a model, and the variant."""


class ServedModel(NamedTuple):
    """The properties of a model version that predictions need.

    If `table` is set, the inputs are rows or windows and `image_shape` is ignored. `fallback` is the network as trained
    if `variant` is the default variant, which the request has not named: it serves if the variant cannot be loaded.
    """

    name: str
    version: int
    bundle: BundleRef
    task: str
    classes: tuple[str, ...]
    image_shape: ImageShape
    resize: ResizePolicy
    num_outputs: int
    variant: str | None = None
    table: Table | None = None
    fallback: "ServedModel | None" = None

    @property
    def num_input_values(self) -> int:
        """The number of values of an instance. Rows may also have values of the target columns."""
        if self.table is None:
            return math.prod(self.image_shape)
        return math.prod(self.table.sample_shape) + len(self.table.targets)


class _CacheEntry(NamedTuple):
    """A database query (a task that returns the version) and its start time."""

    started_at: float
    task: asyncio.Task[ServedModel]


class VersionCache:
    """Caches the versions of references such as `name`, `name@3` or `name@alias` for half a second.

    An entry that requests still use is refreshed before it expires, so that no request waits for the database.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        default_variants: DefaultVariants | None = None,
        *,
        ttl_s: float = CACHE_TTL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._default_variants = default_variants or DefaultVariants()
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries: dict[_Key, _CacheEntry] = {}
        self._refreshes: dict[_Key, _CacheEntry] = {}
        self._mutex = threading.Lock()

    async def get(self, ref: str, variant: str | None = None) -> ServedModel:
        """Return the version of a reference. Concurrent calls for the same reference share one database query.

        Args:
            ref: `name`, `name@3` or `name@alias`.
            variant: a variant format, or `none` for the trained network. Default: the alias's variant, or the default
                variant of the version.

        Raises:
            NotFound: the model, version, alias or variant does not exist.
        """
        key = ref, variant
        entry = self._entries.get(key)
        age_s = math.inf if entry is None else self._clock() - entry.started_at
        if entry is None or age_s >= REFRESH_FRACTION * self._ttl_s or _has_failed(entry.task):
            entry = self._refresh(key, entry if age_s < self._ttl_s else None)
        # A cancelled request must not cancel the query that other requests wait for.
        return entry.task.result() if entry.task.done() else await asyncio.shield(entry.task)

    def invalidate(self, name: str) -> None:
        """Remove all entries of a model. Thread-safe."""
        with self._mutex:
            for entries in (self._entries, self._refreshes):
                for key in [key for key in entries if key[0].partition("@")[0] == name]:
                    del entries[key]

    def _refresh(self, key: _Key, current: _CacheEntry | None) -> _CacheEntry:
        """Start a query unless one is running. Return the current entry until the new query has succeeded."""
        refresh, now = self._refreshes.get(key), self._clock()
        if refresh is None or now - refresh.started_at >= self._ttl_s:
            refresh = _CacheEntry(now, asyncio.create_task(asyncio.to_thread(self._query_version, *key)))
            refresh.task.add_done_callback(_has_failed)  # retrieves the exception; otherwise asyncio logs it
            self._store(self._refreshes, key, refresh)
        is_done = refresh.task.done() and not _has_failed(refresh.task)
        if current is not None and not is_done and not _has_failed(current.task):
            return current
        self._store(self._entries, key, refresh)
        with self._mutex:
            self._refreshes.pop(key, None)
        return refresh

    def _store(self, entries: dict[_Key, _CacheEntry], key: _Key, entry: _CacheEntry) -> None:
        """Store an entry. Remove expired entries and, above `MAX_ENTRIES`, the oldest ones."""
        with self._mutex:
            entries.pop(key, None)
            entries[key] = entry  # the last one: the oldest entries are the first ones
            while len(entries) > 1:
                oldest = next(iter(entries))
                if len(entries) <= MAX_ENTRIES and self._clock() - entries[oldest].started_at < self._ttl_s:
                    return
                del entries[oldest]

    def _query_version(self, ref: str, variant: str | None) -> ServedModel:
        with transaction(self._sessions, read_only=True) as session:
            row, alias_variant = ModelRepo(session).resolve_with_variant(ref)
            kind = alias_variant if variant is None else variant
            if kind is None:
                return to_default_model(row, self._default_variants.find(session, row.name, row.version))
            if kind == AS_TRAINED:
                return to_served_model(row)
            return to_served_model(row, VariantRepo(session).get(row.name, row.version, kind))


def to_served_model(row: ModelVersionRow, variant: ModelVariantRow | None = None) -> ServedModel:
    """Convert database rows to a ServedModel of the version or, if a variant is given, of the variant."""
    bundle: dict[str, Any] = row.bundle
    stored = row if variant is None else variant
    return ServedModel(
        name=row.name,
        version=row.version,
        bundle=BundleRef(
            stored.key,
            tuple((name, file["sha256"]) for name, file in sorted(stored.files.items())),
            row.name,
            str(row.version) if variant is None else f"{row.version}-{variant.format}",
        ),
        task=bundle["task"],
        classes=tuple(bundle["classes"]),
        image_shape=get_image_shape(bundle["image_shape"]),
        resize=ResizePolicy.from_dict(bundle),
        num_outputs=bundle["num_outputs"],
        variant=None if variant is None else variant.format,
        table=Table.model_validate(bundle["table"]) if bundle.get("table") else None,
    )


def to_default_model(row: ModelVersionRow, variant: ModelVariantRow | None) -> ServedModel:
    """Convert database rows to the ServedModel of requests that name no variant. `variant`: its default variant."""
    network = to_served_model(row)
    return network if variant is None else to_served_model(row, variant)._replace(fallback=network)


def get_image_shape(sample_shape: Sequence[int]) -> ImageShape:
    """Return the shape (C, H, W) of input images; (0, 0, 0) if the inputs are rows or windows."""
    if len(sample_shape) != 3:
        return 0, 0, 0
    channels, height, width = sample_shape
    return channels, height, width


def _has_failed(task: asyncio.Task[ServedModel]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
