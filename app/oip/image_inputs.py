"""Converts the input tensor of a request to images: encoded files, or pixels as uint8."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.oip.datatypes import BYTES
from app.oip.errors import InvalidInferRequest
from app.oip.tensors import Tensor, TensorMetadata
from core.base64_text import InvalidBase64, decode_base64
from core.errors import InvalidImage, ServiceError, UnsupportedImage
from core.image_formats import detect_format

INPUT = "image"
# MLServer's request codecs name a single tensor `input-<number>`, so this name is accepted in place of `INPUT`.
UNNAMED_INPUT = re.compile(r"input-\d+")
Shape = tuple[int, int, int]
Pixels = NDArray[np.uint8]
Input = TypeVar("Input", Tensor, TensorMetadata)


def require_single_input(inputs: Sequence[Input], model: str, name: str = INPUT) -> Input:
    """Return the only input tensor. Raise InvalidInferRequest if there is none or an input has an unknown name."""
    for tensor in inputs:
        if tensor.name != name and not (len(inputs) == 1 and UNNAMED_INPUT.fullmatch(tensor.name)):
            raise InvalidInferRequest(f"unexpected input '{tensor.name}': model '{model}' takes one input, '{name}'")
    if not inputs:
        raise InvalidInferRequest(f"input '{name}' of model '{model}' is missing")
    return inputs[0]


def check_images(metadata: TensorMetadata, image_shape: Shape, max_batch_size: int) -> None:
    """Check the declared shape and batch size of an input.

    Raises:
        InvalidInferRequest: the model does not accept the shape, or the batch is too large.
    """
    channels, height, width = image_shape
    accepted: list[tuple[int, ...]] = [(height, width, channels), (channels, height, width)]
    if metadata.datatype == BYTES:
        accepted = [(), (1,)]
    if metadata.shape[1:] not in accepted:
        shapes = " or ".join(str([-1, *item]) for item in accepted)
        raise InvalidInferRequest(
            f"input '{metadata.name}' is {metadata.datatype} of shape {list(metadata.shape)}; "
            f"the model takes shape {shapes}"
        )
    check_batch_size(metadata, max_batch_size)


def check_batch_size(metadata: TensorMetadata, max_batch_size: int) -> None:
    """Raise InvalidInferRequest if the batch is too large."""
    if metadata.shape[0] > max_batch_size:
        raise InvalidInferRequest(
            f"input '{metadata.name}' has a batch size of {metadata.shape[0]}; at most {max_batch_size} is allowed"
        )


def parse_images(tensor: Tensor, image_shape: Shape) -> list[bytes] | Pixels:
    """Return encoded images, or pixels as uint8 (B, H, W, C). `check_images` has accepted the shape.

    Raises:
        InvalidInferRequest: the model does not accept the values.
    """
    return parse_encoded_images(tensor) if tensor.datatype == BYTES else parse_pixels(tensor, image_shape)


def parse_raw_body(body: bytes, image_shape: Shape) -> list[bytes] | Pixels:
    """Parse a body without JSON, which is one image: an encoded file, or raw pixels of shape (H, W, C)."""
    try:
        detect_format(body)
    except (InvalidImage, UnsupportedImage) as error:
        channels, height, width = image_shape
        if isinstance(error, InvalidImage) and len(body) == channels * height * width:
            return np.frombuffer(body, np.uint8).reshape(1, height, width, channels)
        raise InvalidInferRequest(
            f"input '{INPUT}': {error.detail} Raw pixels must be {channels * height * width} bytes, "
            f"UINT8 of shape {[height, width, channels]}; got {len(body)} bytes."
        ) from None
    return [body]


def parse_encoded_images(tensor: Tensor) -> list[bytes]:
    """Return the image files of a BYTES tensor. Base64, which JSON requires, is decoded. Raises InvalidInferRequest."""
    elements: list[bytes] = list(tensor.values.ravel())
    if tensor.from_json or tensor.parameters.get("content_type") == "base64":
        return [_decode_base64(tensor.name, index, element) for index, element in enumerate(elements)]
    return elements


def parse_pixels(tensor: Tensor, image_shape: Shape) -> Pixels:
    """Return pixels as uint8 (B, H, W, C) from integers 0..255, floating-point numbers 0..1, or booleans."""
    channels, height, width = image_shape
    values: NDArray[Any] = tensor.values
    if values.shape[1:] != (height, width, channels):
        values = values.transpose(0, 2, 3, 1)
    match values.dtype.kind:
        case "b":
            return np.where(values, np.uint8(255), np.uint8(0))
        case "f":
            _check_range(tensor, values, 1, "floating-point pixels must be 0..1; the model normalizes them")
            scaled: NDArray[np.float32] = values.astype(np.float32) * np.float32(255)
            return np.rint(scaled).astype(np.uint8)
        case _:
            _check_range(tensor, values, 255, "integer pixels must be 0..255")
            return np.ascontiguousarray(values, np.uint8)


def to_element_error(error: ServiceError, index: int) -> InvalidInferRequest:
    """Return an error whose message contains the name of the input and the index of the encoded image."""
    return InvalidInferRequest(f"input '{INPUT}', element {index}: {error.detail}")


def _check_range(tensor: Tensor, values: NDArray[Any], largest: int, reason: str) -> None:
    # Also rejects NaN, because every comparison with NaN is false.
    if values.dtype != np.uint8 and values.size and not (values.min() >= 0 and values.max() <= largest):
        raise InvalidInferRequest(f"input '{tensor.name}' has values outside its range: {reason}")


def _decode_base64(name: str, index: int, element: bytes) -> bytes:
    try:
        return decode_base64(element)
    except InvalidBase64 as error:
        raise InvalidInferRequest(
            f"input '{name}', element {index} is not base64, the encoding of images in JSON: it {error}; "
            "send base64, or the bytes as binary tensor data"
        ) from None
