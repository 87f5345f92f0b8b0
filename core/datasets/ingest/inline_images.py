"""Converts inline images to a zip of lossless PNG files in class folders."""

import io
import unicodedata
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.datasets.archives.spool import is_hidden
from core.datasets.ingest.nested_lists import JsonPath, iterate_rows, raise_invalid_value
from core.resizing import MAX_IMAGE_SIDE
from core.spec.error_reasons import shorten

MAX_IMAGES = 65_536
MAX_CLASS = 200  # characters in the name of a class
_NAME_RULE = "must be a valid folder name"


def check_shape(shape: Sequence[int]) -> None:
    """Check the size of images and their number of channels. `shape` is (N, H, W) or (N, H, W, C).

    Raises:
        InvalidSpec: the images are too large, or do not have 1 or 3 channels.
    """
    if max(shape[1:3]) > MAX_IMAGE_SIDE:
        raise_invalid_value(
            ("inputs",),
            f"has images of {shape[1]} x {shape[2]}; at most {MAX_IMAGE_SIDE} x {MAX_IMAGE_SIDE} are accepted inline",
        )
    if len(shape) == 4 and shape[3] not in (1, 3):
        raise_invalid_value(
            ("inputs",), f"has {shape[3]} channels in the last dimension; images must have 1 or 3, as (N, H, W, C)"
        )


def build_zip(inputs: Sequence[Any], targets: Sequence[Any], shape: Sequence[int]) -> bytes:
    """Return a zip with files `train/class/number.png`.

    Args:
        inputs: nested arrays of `shape`, (N, H, W) or (N, H, W, C), of integers from 0 to 255.
        targets: the classes, integers or strings.
        shape: the shape of `inputs`. `check_shape` must have accepted it.

    Raises:
        InvalidSpec: an image is ragged or has an invalid value, or a target is not a valid class name.
    """
    labels = [_parse_class_name(target, ("targets", index)) for index, target in enumerate(targets)]
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_STORED) as archive:
        for index, (image, label) in enumerate(zip(inputs, labels, strict=True)):
            pixels = _parse_pixels(image, shape[1:], ("inputs", index))
            archive.writestr(f"train/{label}/{index:06d}.png", _encode_png(pixels))
    return body.getvalue()


def _parse_pixels(image: Any, shape: Sequence[int], path: JsonPath) -> NDArray[np.uint8]:  # noqa: ANN401 - any JSON value
    values = []
    for at, row in iterate_rows(image, shape, path):
        for index, value in enumerate(row):
            if type(value) is not int or not 0 <= value <= 255:  # not isinstance, which accepts bool
                raise_invalid_value((*at, index), f"must be an integer from 0 to 255, got {shorten(value)}")
        values.append(row)
    pixels = np.asarray(values, np.uint8).reshape(shape)
    return pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _encode_png(pixels: NDArray[np.uint8]) -> bytes:
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def _parse_class_name(target: Any, path: JsonPath) -> str:  # noqa: ANN401 - any JSON value
    if type(target) is int:
        return str(target)
    if not isinstance(target, str):
        raise_invalid_value(path, f"must be the class of the image, an integer or a string, got {shorten(target)}")
    if not 0 < len(target) <= MAX_CLASS:
        raise_invalid_value(path, f"must have 1 to {MAX_CLASS} characters, got {len(target)}")
    if set(target) & {"/", "\\"} or any(unicodedata.category(character) == "Cc" for character in target):
        raise_invalid_value(path, f"{_NAME_RULE} without slashes and control characters, got {shorten(target)}")
    if is_hidden((target,)):
        raise_invalid_value(path, f"{_NAME_RULE} that is not hidden, got {shorten(target)}")
    return target
