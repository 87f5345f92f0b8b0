"""Batchers that are closed, and their threads gone, when a test is over."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from app.inference.batcher import Batcher, Compute


@asynccontextmanager
async def batchers(
    compute: Compute, release: Callable[[], object], **usual: Any
) -> AsyncIterator[Callable[..., Batcher]]:
    """A function that makes batchers of a network, by their arguments or the `usual` ones.

    `release` lets the network compute whatever it was held back from, so that its threads can end.
    """
    made: list[Batcher] = []

    def build(**given: Any) -> Batcher:
        options: dict[str, Any] = {"model": "m", "max_batch_size": 32, "max_waiting": 64} | usual | given
        made.append(Batcher(compute, **options))
        return made[-1]

    try:
        yield build
    finally:
        release()
        for batcher in made:
            batcher.close()
            await batcher.join()
