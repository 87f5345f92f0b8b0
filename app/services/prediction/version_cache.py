"""Which version a name stands for, remembered for a moment: predictions do not wait for the database."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from app.serving.decoding import ImageShape
from app.serving.types import BundleRef
from core.datasets.columns import Table
from core.db.repos.models import ModelRepo
from core.db.repos.variants import VariantRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import ModelVariantRow, ModelVersionRow

LOOKUP_S = 0.5
"""How long a client may get the version that an alias stood for before it was moved."""
REFRESH_SHARE = 0.7
MAX_LOOKUPS = 1024
AS_TRAINED = "none"


class ServedModel(NamedTuple):
    """A version as the hot path needs it: no row, no session.

    With a `table`, it reads rows or windows, and `image_shape` tells nothing.
    """

    name: str
    version: int
    bundle: BundleRef
    task: str
    classes: tuple[str, ...]
    image_shape: ImageShape
    resize: str
    num_outputs: int
    variant: str | None = None
    table: Table | None = None


class _Found(NamedTuple):
    """A query and when it began."""

    asked_at: float
    task: asyncio.Task[ServedModel]


class VersionCache:
    """Which version `name`, `name@3` or `name@alias` stands for, remembered for half a second.

    Where many ask, it is looked up again a little before that: nobody waits for the database.
    """

    def __init__(
        self, sessions: SessionFactory, *, remember_s: float = LOOKUP_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sessions = sessions
        self._remember_s = remember_s
        self._clock = clock
        self._found: dict[tuple[str, str | None], _Found] = {}
        self._newer: dict[tuple[str, str | None], _Found] = {}

    async def get(self, ref: str, variant: str | None = None) -> ServedModel:
        """The version; those who ask at the same time share one query.

        Args:
            ref: `name`, `name@3` or `name@alias`.
            variant: a format, or `none` for the network as it was trained; the alias's choice unless given.

        Raises:
            NotFound: it stands for none, or there is no such variant.
        """
        key = ref, variant
        found = self._found.get(key)
        age_s = math.inf if found is None else self._clock() - found.asked_at
        if found is None or age_s >= REFRESH_SHARE * self._remember_s or _has_failed(found.task):
            found = self._refreshed(key, found if age_s < self._remember_s else None)
        # Whoever leaves does not stop the query for the others.
        return found.task.result() if found.task.done() else await asyncio.shield(found.task)

    def invalidate(self, name: str) -> None:
        """Look again, whatever of a model is asked for next; callable by any thread."""
        for known in (self._found, self._newer):
            for key in [key for key in list(known) if key[0].partition("@")[0] == name]:
                known.pop(key, None)

    def _refreshed(self, key: tuple[str, str | None], old: _Found | None) -> _Found:
        """What is looked up anew; until that is there, what was known, if it may still be told."""
        newer, now = self._newer.get(key), self._clock()
        if newer is None or now - newer.asked_at >= self._remember_s:
            if len(self._newer) >= MAX_LOOKUPS:
                self._newer.clear()
            newer = _Found(now, asyncio.create_task(asyncio.to_thread(self._read, *key)))
            newer.task.add_done_callback(_has_failed)  # it may be that nobody asks any more
            self._newer[key] = newer
        is_there = newer.task.done() and not _has_failed(newer.task)
        if old is not None and not is_there and not _has_failed(old.task):
            return old
        if key not in self._found and len(self._found) >= MAX_LOOKUPS:
            self._found.clear()
        self._newer.pop(key, None)
        self._found[key] = newer
        return newer

    def _read(self, ref: str, variant: str | None) -> ServedModel:
        with transaction(self._sessions, read_only=True) as session:
            row, chosen = ModelRepo(session).resolve_with_variant(ref)
            kind = chosen if variant is None else None if variant == AS_TRAINED else variant
            return to_served_model(row, VariantRepo(session).get(row.name, row.version, kind) if kind else None)


def to_served_model(row: ModelVersionRow, variant: ModelVariantRow | None = None) -> ServedModel:
    """What the hot path needs of a version, or of a variant of it."""
    words: dict[str, Any] = row.bundle
    stored = row if variant is None else variant
    return ServedModel(
        name=row.name,
        version=row.version,
        bundle=BundleRef(
            stored.key,
            tuple((name, facts["sha256"]) for name, facts in sorted(stored.files.items())),
            row.name,
            str(row.version) if variant is None else f"{row.version}-{variant.format}",
        ),
        task=words["task"],
        classes=tuple(words["classes"]),
        image_shape=picture_shape(words["image_shape"]),
        resize=words["resize"],
        num_outputs=words["num_outputs"],
        variant=None if variant is None else variant.format,
        table=Table.model_validate(words["table"]) if words.get("table") else None,
    )


def picture_shape(sample_shape: Sequence[int]) -> ImageShape:
    """(C, H, W) of pictures; of rows and windows, which have none, no pixels at all."""
    if len(sample_shape) != 3:
        return 0, 0, 0
    channels, height, width = sample_shape
    return channels, height, width


def _has_failed(task: asyncio.Task[ServedModel]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
