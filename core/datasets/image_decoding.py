"""Many encoded pictures to chunks of pixels, on all cores, in the order in which they came."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import NamedTuple

import numpy as np

from core.datasets.definition import Chunk, Unreadable
from core.errors import ServiceError
from core.images import MAX_PIXELS, read

_BATCH = 256


class Encoded(NamedTuple):
    """A picture as it lies in its file; `target` is its class."""

    split: str
    name: str
    target: int
    body: bytes


def decode(
    entries: Iterable[Encoded],
    image_shape: tuple[int, ...],
    *,
    resize: str = "stretch",
    max_pixels: int = MAX_PIXELS,
    num_threads: int | None = None,
) -> Iterator[Chunk]:
    """Yield decoded chunks; what cannot be read is named in its chunk, never raised.

    Threads suffice, since the decoders release the interpreter's lock. Memory is bounded by a few batches.
    """
    threads = num_threads or len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        waiting: deque[Future[Chunk]] = deque()
        for batch in _batches(entries):
            waiting.append(pool.submit(_decode_batch, batch, image_shape, resize, max_pixels))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _batches(entries: Iterable[Encoded]) -> Iterator[list[Encoded]]:
    for _, group in groupby(entries, key=lambda entry: entry.split):
        batch: list[Encoded] = []
        for entry in group:
            batch.append(entry)
            if len(batch) == _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


def _decode_batch(batch: list[Encoded], image_shape: tuple[int, ...], resize: str, max_pixels: int) -> Chunk:
    channels, height, width = image_shape
    images = np.empty((len(batch), height, width, channels), np.uint8)
    good: list[Encoded] = []
    unreadable: list[Unreadable] = []
    for entry in batch:
        try:
            images[len(good)] = read(entry.body, (channels, height, width), resize=resize, max_pixels=max_pixels)
        except ServiceError as error:
            unreadable.append(Unreadable(entry.name, error.detail))
        else:
            good.append(entry)
    targets = np.asarray([entry.target for entry in good], np.int64)
    return Chunk(batch[0].split, images[: len(good)], targets, [entry.name for entry in good], unreadable)
