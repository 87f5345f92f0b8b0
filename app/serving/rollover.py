"""Switches model versions without downtime: the previous version serves requests until the new version is loaded."""

import asyncio
import time
from typing import Protocol, TypeVar, cast

import structlog

from app.serving.model_server import ModelServer
from app.serving.types import BundleRef
from core.errors import ServiceError

log = structlog.get_logger(__name__)
MAX_REFS = 1024
WAIT_S = 2.0


class Version(Protocol):
    """A model version with a bundle."""

    @property
    def bundle(self) -> BundleRef:
        """The bundle of the version."""


V = TypeVar("V", bound=Version)


class VersionRollover:
    """Chooses the version that serves requests. A loaded version is never replaced by a version that cannot be loaded.

    Use it on one event loop only.
    """

    def __init__(self, model_server: ModelServer, *, wait_s: float = WAIT_S) -> None:
        """Initialize with the model server and the maximum wait in seconds for a new version to be loaded."""
        self._model_server = model_server
        self._wait_s = wait_s
        self._serving: dict[str, Version] = {}
        self._loads: dict[str, tuple[asyncio.Task[bool], float]] = {}

    async def choose_version(self, ref: str, current: V) -> V:
        """Return the version that serves a request for `ref`: `current` or the previous version.

        The previous version is returned if it is loaded and `current` is not loaded within `wait_s` seconds.
        """
        previous = self._serving.get(ref)
        if (
            previous is not None
            and previous.bundle.key != current.bundle.key
            and not self._model_server.is_loaded(current.bundle)
            and self._model_server.is_loaded(previous.bundle)
            and not await self._wait_for_load(current.bundle)
        ):
            return cast("V", previous)
        self._serving.pop(ref, None)
        self._serving[ref] = current  # the last one: the order is that of the last uses
        if len(self._serving) > MAX_REFS:
            del self._serving[next(iter(self._serving))]
        return current

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
            log.warning("model.rollover_failed", model=bundle.model, version=bundle.version, error=error.detail)
            return False
        return True
