"""Which version answers while the one that a name stands for now is still being loaded: the one before, until then."""

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
    """Whatever has a bundle."""

    @property
    def bundle(self) -> BundleRef: ...


V = TypeVar("V", bound=Version)


class VersionRollover:
    """Use it on one event loop. A version that cannot be loaded never takes over from one that answers."""

    def __init__(self, predictors: ModelServer, *, wait_s: float = WAIT_S) -> None:
        """Within `wait_s` of a switch requests wait for the new version; if it takes longer, the old one answers."""
        self._predictors = predictors
        self._wait_s = wait_s
        self._answering: dict[str, Version] = {}
        self._loading: dict[str, tuple[asyncio.Task[bool], float]] = {}

    async def choose(self, ref: str, wanted: V) -> V:
        """The version that answers a request for `ref`, which stands for `wanted`: warm, if there is a warm one."""
        before = self._answering.get(ref)
        if (
            before is not None
            and before.bundle.key != wanted.bundle.key
            and not self._predictors.is_loaded(wanted.bundle)
            and self._predictors.is_loaded(before.bundle)
            and not await self._is_warm_soon(wanted.bundle)
        ):
            return cast("V", before)
        if len(self._answering) >= MAX_REFS:
            self._answering.clear()
        self._answering[ref] = wanted
        return wanted

    async def _is_warm_soon(self, bundle: BundleRef) -> bool:
        """Whether it could be loaded by the time that a switch may be noticed; it goes on loading in any case."""
        if bundle.key not in self._loading:
            task = asyncio.create_task(self._load(bundle))
            self._loading[bundle.key] = task, time.monotonic() + self._wait_s
            task.add_done_callback(lambda _: self._loading.pop(bundle.key, None))
        task, until = self._loading[bundle.key]
        await asyncio.wait({task}, timeout=max(0.0, until - time.monotonic()))
        return task.done() and task.result()

    async def _load(self, bundle: BundleRef) -> bool:
        try:
            await self._predictors.load(bundle)
        except ServiceError as error:
            log.warning("model.not_switched", model=bundle.model, version=bundle.version, error=error.detail)
            return False
        return True
