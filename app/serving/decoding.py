"""From what a client sent to pixels: decoded in a few threads before any batch, so that one bad picture harms none."""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from app.serving.types import Pixels
from core import images
from core.errors import InvalidImage, Overloaded, ServiceError, TooLarge

ImageShape = tuple[int, int, int]
# A few small pictures are decoded where they are read: that takes less time than to hand them to a thread and back.
FEW, SMALL_BYTES, SMALL_PIXELS = 4, 16 * 2**10, 128 * 128


class PixelValues(NamedTuple):
    """A picture as numbers: pixels 0..255, (H, W, C), (H, W) where it is grey, or flat in that order."""

    numbers: Any


Sent = bytes | PixelValues | ServiceError
"""A picture's file, its numbers, or what is already known to be wrong with it."""


class Decoder:
    """A bounded number of pictures at a time, in a few threads."""

    def __init__(self, *, max_waiting: int, max_bytes: int, max_pixels: int) -> None:
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._num_waiting = 0
        self._threads = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="decode")

    async def decode(self, sent: Sequence[Sent], image_shape: ImageShape, resize: str) -> list[Pixels | ServiceError]:
        """Each picture as uint8 (H, W, C), or what is wrong with it.

        Raises:
            Overloaded: too many pictures wait to be decoded.
        """
        if self._num_waiting + len(sent) > self._max_waiting:
            raise Overloaded("Too many pictures wait to be decoded.", waiting=self._num_waiting, retry_after_s=1)
        if (quick := self._read_at_once(sent, image_shape, resize)) is not None:
            return quick
        self._num_waiting += len(sent)
        loop = asyncio.get_running_loop()
        try:
            jobs = [loop.run_in_executor(self._threads, self._read, one, image_shape, resize) for one in sent]
            return [await job for job in jobs] if len(jobs) == 1 else await asyncio.gather(*jobs)
        finally:
            self._num_waiting -= len(sent)

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _read_at_once(
        self, sent: Sequence[Sent], image_shape: ImageShape, resize: str
    ) -> list[Pixels | ServiceError] | None:
        """A few small pictures, on the event loop; None where they are not, and would hold it up."""
        most_bytes, most_pixels = min(SMALL_BYTES, self._max_bytes), min(SMALL_PIXELS, self._max_pixels)
        found: list[Pixels | ServiceError] = []
        for one in sent if len(sent) <= FEW else ():
            if not isinstance(one, bytes) or len(one) > most_bytes:
                return None
            try:
                found.append(images.read(one, image_shape, resize=resize, max_pixels=most_pixels))
            except TooLarge:
                return None
            except ServiceError as error:
                found.append(error)
        return found or None

    def _read(self, sent: Sent, image_shape: ImageShape, resize: str) -> Pixels | ServiceError:
        try:
            match sent:
                case bytes():
                    return self._read_file(sent, image_shape, resize)
                case PixelValues():
                    return pixels_of(sent, image_shape)
                case _:
                    return sent
        except ServiceError as error:
            return error

    def _read_file(self, body: bytes, image_shape: ImageShape, resize: str) -> Pixels:
        if len(body) > self._max_bytes:
            raise TooLarge(
                f"The picture has {len(body)} bytes; at most {self._max_bytes} are read.", max_bytes=self._max_bytes
            )
        return images.read(body, image_shape, resize=resize, max_pixels=self._max_pixels)


def pixels_of(values: PixelValues, image_shape: ImageShape) -> Pixels:
    """Numbers as pixels, uint8 (H, W, C).

    Raises:
        InvalidPicture: they are not as many as the network takes, or no numbers from 0 to 255.
    """
    channels, height, width = image_shape
    try:
        numbers = np.asarray(values.numbers)
    except ValueError:
        raise InvalidImage("The values are ragged: rows of a picture have one length.") from None
    shapes = [(height, width, channels), (height * width * channels,)] + ([(height, width)] if channels == 1 else [])
    if numbers.shape not in shapes:
        wanted = ", ".join(str(list(shape)) for shape in shapes)
        raise InvalidImage(f"The values have the shape {list(numbers.shape)}; the model takes {wanted}.")
    if numbers.dtype.kind not in "iuf" or not (
        np.isfinite(numbers).all() and 0 <= numbers.min() <= numbers.max() <= 255
    ):
        raise InvalidImage("The values are pixels: numbers from 0 to 255.")
    return np.ascontiguousarray(np.rint(numbers).astype(np.uint8).reshape(height, width, channels))
