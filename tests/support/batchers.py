"""Batchers that are closed, with their threads, when a test ends."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from app.inference.batcher import DynamicBatcher
from app.inference.failure_isolation import Compute


@asynccontextmanager
async def open_batchers(
    compute: Compute, release: Callable[[], object], **defaults: Any
) -> AsyncIterator[Callable[..., DynamicBatcher]]:
    """Yield a function that creates batchers from its arguments and the defaults.

    `release` unblocks the network, so that the threads of the batchers can end.
    """
    batchers: list[DynamicBatcher] = []

    def create_batcher(**changes: Any) -> DynamicBatcher:
        options: dict[str, Any] = {"model": "m", "max_batch_size": 32, "max_waiting": 64} | defaults | changes
        batchers.append(DynamicBatcher(compute, **options))
        return batchers[-1]

    try:
        yield create_batcher
    finally:
        release()
        for batcher in batchers:
            batcher.close()
            await batcher.join()
