"""Decodes many images in parallel threads and returns them in order."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import NamedTuple

import numpy as np

from core.datasets.definition import SampleChunk, Unreadable
from core.errors import ServiceError
from core.host_resources import count_usable_cores
from core.images import MAX_PIXELS, decode_image
from core.resizing import STRETCH, ResizePolicy

_BATCH_SIZE = 256
_MAX_BATCH_BYTES = 16 * 2**20  # of the image files of a batch, and of its decoded images


class EncodedImage(NamedTuple):
    """An image file in memory. `target` is the index of its class."""

    split: str
    name: str
    target: int
    body: bytes


def decode_images(
    entries: Iterable[EncodedImage],
    image_shape: tuple[int, ...],
    *,
    resize: ResizePolicy = STRETCH,
    max_pixels: int = MAX_PIXELS,
    num_threads: int | None = None,
) -> Iterator[SampleChunk]:
    """Yield the decoded images in chunks. A chunk also lists the images that cannot be decoded.

    The decoders release the GIL, so that threads use all cores. About two chunks per thread are in memory at a time. A
    chunk has at most 256 images, and about 16 MiB of image files and of pixels.

    Args:
        entries: the image files, grouped by split.
        image_shape: the shape of the decoded images, (C, H, W).
        resize: how images are resized to `image_shape`; default: they are stretched.
        max_pixels: the maximum number of pixels of an image.
        num_threads: the number of decoding threads. Default: the number of available cores.
    """
    threads = num_threads or count_usable_cores()
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        pending: deque[Future[SampleChunk]] = deque()
        batch_size = max(1, min(_BATCH_SIZE, _MAX_BATCH_BYTES // math.prod(image_shape)))
        for batch in _group_batches(entries, batch_size):
            pending.append(pool.submit(_decode_batch, batch, image_shape, resize, max_pixels))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _group_batches(entries: Iterable[EncodedImage], batch_size: int) -> Iterator[list[EncodedImage]]:
    for _, group in groupby(entries, key=lambda entry: entry.split):
        batch: list[EncodedImage] = []
        num_bytes = 0
        for entry in group:
            batch.append(entry)
            num_bytes += len(entry.body)
            if len(batch) == batch_size or num_bytes >= _MAX_BATCH_BYTES:
                yield batch
                batch, num_bytes = [], 0
        if batch:
            yield batch


def _decode_batch(
    batch: list[EncodedImage], image_shape: tuple[int, ...], resize: ResizePolicy, max_pixels: int
) -> SampleChunk:
    channels, height, width = image_shape
    images = np.empty((len(batch), height, width, channels), np.uint8)
    decoded: list[EncodedImage] = []
    unreadable: list[Unreadable] = []
    for entry in batch:
        try:
            images[len(decoded)] = decode_image(
                entry.body, (channels, height, width), resize=resize, max_pixels=max_pixels
            )
        except ServiceError as error:
            unreadable.append(Unreadable.from_error(entry.name, error))
        else:
            decoded.append(entry)
    targets = np.asarray([entry.target for entry in decoded], np.int64)
    return SampleChunk(batch[0].split, images[: len(decoded)], targets, [entry.name for entry in decoded], unreadable)
