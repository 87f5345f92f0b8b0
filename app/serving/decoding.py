"""Decodes images in threads before they are batched, so that an invalid image does not affect other requests."""

import asyncio
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from app.serving.nested_numbers import NotNumbersError, RaggedError, get_first_shape, has_floats, parse_nested_numbers
from app.serving.types import Pixels
from core import images
from core.errors import InvalidImage, Overloaded, ServiceError, TooLarge
from core.resizing import ResizePolicy

ImageShape = tuple[int, int, int]
MAX_AXES = 4  # one more than an image has, so that the error of a deeper array shows that it is deeper
_PIXEL_RULE = "The values must be pixels: numbers from 0 to 255."
_SCALED_RULE = (
    "The values are fractions below 2, like pixels that were scaled to 0..1. Send numbers from 0 to 255: multiply the "
    "values by 255."
)
# A few small images are decoded on the event loop, which is faster than using a thread.
MAX_INLINE_IMAGES, MAX_INLINE_BYTES, MAX_INLINE_PIXELS = 4, 16 * 2**10, 128 * 128
MAX_INLINE_VALUES = 3 * 512 * 512  # of the image after resizing
MAX_DECODED_BYTES = 2**30  # of all images that are being decoded; as much as the inference process can be sent


class PixelValues(NamedTuple):
    """The pixel values of an image, 0 to 255, as nested arrays: (H, W, C), or (H, W) for grayscale images.

    A flat array of the same values, row by row, is also accepted. Fractions are rounded. Integers may all be 0 or 1.
    Floating-point numbers of which none reaches 2 are rejected unless all of them are 0: they were scaled to 0..1.
    """

    numbers: Any


ImageInput = bytes | PixelValues | ServiceError
"""An image file, the pixel values of an image, or the error of an invalid instance."""


class Decoder:
    """Decodes images in at most four threads. The number of waiting images is limited."""

    def __init__(self, *, max_waiting: int, max_bytes: int, max_pixels: int) -> None:
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._num_waiting = self._num_bytes = 0
        self._threads = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1), thread_name_prefix="decode")

    async def decode(
        self, inputs: Sequence[ImageInput], image_shape: ImageShape, resize: ResizePolicy, *, num_views: int = 1
    ) -> list[Pixels | ServiceError]:
        """Return, for each input, the image as uint8 (H, W, C) or the error if the image cannot be decoded.

        `num_views`: how many arrays of this size the caller makes of each image. They count as decoded images.

        Raises:
            TooLarge: the decoded images of the request need more than 1 GiB.
            Overloaded: too many images wait to be decoded.
        """
        num_bytes = len(inputs) * num_views * math.prod(image_shape)
        if num_bytes > MAX_DECODED_BYTES:
            max_images = MAX_DECODED_BYTES // (num_views * math.prod(image_shape))
            raise TooLarge(
                f"The request has {len(inputs)} images; at most {max_images} of the model's input size are accepted.",
                max_images=max_images,
            )
        if self._num_bytes + num_bytes > MAX_DECODED_BYTES:
            raise Overloaded("Too many large images wait to be decoded.", waiting=self._num_waiting, retry_after_s=1)
        if self._num_waiting + len(inputs) > self._max_waiting:
            raise Overloaded("Too many images wait to be decoded.", waiting=self._num_waiting, retry_after_s=1)
        if (decoded := self._decode_inline(inputs, image_shape, resize)) is not None:
            return decoded
        self._num_waiting += len(inputs)
        self._num_bytes += num_bytes
        loop = asyncio.get_running_loop()
        try:
            jobs = [
                loop.run_in_executor(self._threads, self._decode_input, image, image_shape, resize) for image in inputs
            ]
            return [await job for job in jobs] if len(jobs) == 1 else await asyncio.gather(*jobs)
        finally:
            self._num_waiting -= len(inputs)
            self._num_bytes -= num_bytes

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _decode_inline(
        self, inputs: Sequence[ImageInput], image_shape: ImageShape, resize: ResizePolicy
    ) -> list[Pixels | ServiceError] | None:
        """Decode a few small image files on the event loop. Return None if threads must decode the inputs instead."""
        max_bytes, max_pixels = min(MAX_INLINE_BYTES, self._max_bytes), min(MAX_INLINE_PIXELS, self._max_pixels)
        decoded: list[Pixels | ServiceError] = []
        if len(inputs) > MAX_INLINE_IMAGES or math.prod(image_shape) > MAX_INLINE_VALUES:
            return None
        for image in inputs:
            if not isinstance(image, bytes) or len(image) > max_bytes:
                return None
            try:
                decoded.append(images.decode_image(image, image_shape, resize=resize, max_pixels=max_pixels))
            except TooLarge:
                return None
            except ServiceError as error:
                decoded.append(error)
        return decoded or None

    def _decode_input(self, image: ImageInput, image_shape: ImageShape, resize: ResizePolicy) -> Pixels | ServiceError:
        try:
            match image:
                case bytes():
                    return self._decode_file(image, image_shape, resize)
                case PixelValues():
                    return parse_pixel_values(image, image_shape)
                case _:
                    return image
        except ServiceError as error:
            return error

    def _decode_file(self, body: bytes, image_shape: ImageShape, resize: ResizePolicy) -> Pixels:
        if len(body) > self._max_bytes:
            raise TooLarge(
                f"The image has {len(body)} bytes; at most {self._max_bytes} are allowed.", max_bytes=self._max_bytes
            )
        return images.decode_image(body, image_shape, resize=resize, max_pixels=self._max_pixels)


def parse_pixel_values(values: PixelValues, image_shape: ImageShape) -> Pixels:
    """Return the pixel values as an image, uint8 (H, W, C).

    Raises:
        InvalidImage: the values do not have the input shape of the model, are not numbers from 0 to 255, or look like
            pixels that were scaled to 0..1.
    """
    channels, height, width = image_shape
    shapes = [(height, width, channels), (height * width * channels,)] + ([(height, width)] if channels == 1 else [])
    shape = get_first_shape(values.numbers, MAX_AXES)
    if shape not in shapes:
        accepted = ", ".join(str(list(shape)) for shape in shapes)
        raise InvalidImage(f"The values have the shape {list(shape)}; the model takes {accepted}.")
    try:
        numbers = parse_nested_numbers(values.numbers, shape)
    except RaggedError:
        raise InvalidImage("The values are ragged: every row of an image must have the same length.") from None
    except NotNumbersError:
        raise InvalidImage(_PIXEL_RULE) from None
    if not (np.isfinite(numbers).all() and 0 <= numbers.min() <= numbers.max() <= 255):
        raise InvalidImage(_PIXEL_RULE)
    if 0 < numbers.max() < 2 and has_floats(values.numbers):  # interpolation gives values slightly above 1
        raise InvalidImage(_SCALED_RULE)
    return np.ascontiguousarray(np.rint(numbers).astype(np.uint8).reshape(height, width, channels))
