"""Switches model versions without downtime: the previous version serves requests until the new version is loaded.

A version can have a fallback, which serves requests if the version cannot be loaded: for example the network as
trained, if the default variant requires a runtime that is not installed.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, Self, TypeVar, cast

import structlog

from app.serving.model_server import ModelServer
from app.serving.types import BundleRef
from core.errors import NotReady, Overloaded, ServiceError, Unavailable

log = structlog.get_logger(__name__)
MAX_REFS = 1024
WAIT_S = 2.0
RETRY_S = 600.0
"""Seconds after which a version that could not be loaded, and that has a fallback, is loaded again."""
TEMPORARY_ERRORS = NotReady, Overloaded, Unavailable


class Version(Protocol):
    """A model version with a bundle."""

    @property
    def bundle(self) -> BundleRef:
        """The bundle of the version."""

    @property
    def fallback(self) -> Self | None:
        """The version that serves requests if this one cannot be loaded; it has no fallback itself."""


V = TypeVar("V", bound=Version)


class VersionRollover:
    """Chooses the version that serves requests. A loaded version is never replaced by a version that cannot be loaded.

    Use it on one event loop only.
    """

    def __init__(
        self,
        model_server: ModelServer,
        *,
        wait_s: float = WAIT_S,
        retry_s: float = RETRY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Initialize the object.

        Args:
            model_server: loads the versions.
            wait_s: the maximum wait in seconds for a new version to be loaded.
            retry_s: seconds after which a version that could not be loaded is loaded again, if it has a fallback.
            clock: returns the current time in seconds.
        """
        self._model_server = model_server
        self._wait_s = wait_s
        self._retry_s = retry_s
        self._clock = clock
        self._failed_at: dict[str, float] = {}
        self._serving: dict[str, Version] = {}
        self._loads: dict[str, tuple[asyncio.Task[bool], float]] = {}

    async def choose_version(self, ref: str, current: V) -> V:
        """Return the version that serves a request for `ref`: `current`, its fallback or the previous version.

        The previous version is returned if it is loaded and `current` is not loaded within `wait_s` seconds. The
        fallback is returned if `current` cannot be loaded.
        """
        current = self.skip_failed(current)
        if not self._model_server.is_loaded(current.bundle):
            previous = self._serving.get(ref)
            if self._can_replace(previous, current):
                if not await self._wait_for_load(current.bundle):
                    remaining = self.skip_failed(current)
                    return cast("V", previous) if remaining is current else await self.choose_version(ref, remaining)
            elif current.fallback is not None and not await self._load(current.bundle):
                return await self.choose_version(ref, current.fallback)
        self._serving.pop(ref, None)
        self._serving[ref] = current  # the last one: the order is that of the last uses
        if len(self._serving) > MAX_REFS:
            del self._serving[next(iter(self._serving))]
        return current

    def has_failed(self, bundle: BundleRef) -> bool:
        """Return whether the bundle could not be loaded within the last `retry_s` seconds."""
        failed_at = self._failed_at.get(bundle.key)
        return failed_at is not None and self._clock() - failed_at < self._retry_s

    def skip_failed(self, version: V) -> V:
        """Return the version, or its fallback if it has one and could not be loaded."""
        return version.fallback if version.fallback is not None and self.has_failed(version.bundle) else version

    async def load(self, current: V) -> V:
        """Load `current`, or its fallback if it cannot be loaded. Return the version that is loaded.

        Raises the errors of `ModelServer.load` if the version has no fallback, or the fallback cannot be loaded either.
        """
        current = self.skip_failed(current)
        if current.fallback is not None and not await self._load(current.bundle):
            current = current.fallback
        await self._model_server.load(current.bundle)
        return current

    def _can_replace(self, previous: Version | None, current: Version) -> bool:
        """Return whether the previous version can serve requests while the current one is loaded."""
        if previous is None or previous.bundle.key == current.bundle.key:
            return False
        return self._model_server.is_loaded(previous.bundle)

    async def _wait_for_load(self, bundle: BundleRef) -> bool:
        """Return True if the bundle is loaded within `wait_s` seconds. If not, the load continues in the background."""
        if bundle.key not in self._loads:
            task = asyncio.create_task(self._load(bundle))
            self._loads[bundle.key] = task, time.monotonic() + self._wait_s
            task.add_done_callback(lambda _: self._loads.pop(bundle.key, None))
        task, until = self._loads[bundle.key]
        await asyncio.wait({task}, timeout=max(0.0, until - time.monotonic()))
        return task.done() and task.result()

    async def _load(self, bundle: BundleRef) -> bool:
        try:
            await self._model_server.load(bundle)
        except ServiceError as error:
            is_repeated = self.has_failed(bundle)
            if not isinstance(error, TEMPORARY_ERRORS):
                self._record_failure(bundle)
            if not is_repeated:
                log.warning("model.rollover_failed", model=bundle.model, version=bundle.version, error=error.detail)
            return False
        return True

    def _record_failure(self, bundle: BundleRef) -> None:
        self._failed_at.pop(bundle.key, None)
        self._failed_at[bundle.key] = self._clock()  # the last one: the first one is the oldest
        if len(self._failed_at) > MAX_REFS:
            del self._failed_at[next(iter(self._failed_at))]
