"""From the input tensor of a request to the pictures of a network: bytes 0..255, one picture an item."""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.oip.datatypes import BYTES
from app.oip.errors import InvalidInferRequest
from app.oip.tensors import Tensor
from core.errors import InvalidImage, ServiceError, UnsupportedImage
from core.images import format_of

INPUT = "image"
# What MLServer's request codecs call the tensor of a request that has one.
UNNAMED_INPUT = re.compile(r"input-\d+")
Shape = tuple[int, int, int]
Pixels = NDArray[np.uint8]


def require_single_input(inputs: Sequence[Tensor], model: str, name: str = INPUT) -> Tensor:
    """The tensor of that name, or of none of its own; Refused where it is missing or not alone."""
    for tensor in inputs:
        if tensor.name != name and not (len(inputs) == 1 and UNNAMED_INPUT.fullmatch(tensor.name)):
            raise InvalidInferRequest(f"unexpected input '{tensor.name}': model '{model}' takes one input, '{name}'")
    if not inputs:
        raise InvalidInferRequest(f"input '{name}' of model '{model}' is missing")
    return inputs[0]


def parse_images(tensor: Tensor, image_shape: Shape, max_batch_size: int) -> list[bytes] | Pixels:
    """Encoded pictures, or pixels as uint8 (B, H, W, C).

    Raises:
        Refused: of a shape, datatype or with values that the network does not take, or too many at once.
    """
    _check_shape(tensor, image_shape)
    if tensor.shape[0] > max_batch_size:
        raise InvalidInferRequest(
            f"input '{tensor.name}' has a batch of {tensor.shape[0]}; at most {max_batch_size} are taken"
        )
    return parse_encoded_images(tensor) if tensor.datatype == BYTES else parse_pixels(tensor, image_shape)


def parse_raw_body(body: bytes, image_shape: Shape) -> list[bytes] | Pixels:
    """The one picture that is a whole body: encoded, or else exactly the bytes of (H, W, C)."""
    try:
        format_of(body)
    except (InvalidImage, UnsupportedImage) as error:
        channels, height, width = image_shape
        if isinstance(error, InvalidImage) and len(body) == channels * height * width:
            return np.frombuffer(body, np.uint8).reshape(1, height, width, channels)
        raise InvalidInferRequest(
            f"input '{INPUT}': {error.detail} Its raw pixels would be {channels * height * width} bytes, "
            f"UINT8 of shape {[height, width, channels]}; {len(body)} came."
        ) from None
    return [body]


def parse_encoded_images(tensor: Tensor) -> list[bytes]:
    """The elements of a BYTES tensor; base64 in JSON, which carries text alone. Raises Refused."""
    elements: list[bytes] = list(tensor.values.ravel())
    if tensor.from_json or tensor.parameters.get("content_type") == "base64":
        return [_decode_base64(tensor.name, index, element) for index, element in enumerate(elements)]
    return elements


def parse_pixels(tensor: Tensor, image_shape: Shape) -> Pixels:
    """Numbers as uint8 (B, H, W, C): integers are 0..255, floating-point 0..1, truth values black or white."""
    channels, height, width = image_shape
    values: NDArray[Any] = tensor.values
    if values.shape[1:] != (height, width, channels):
        values = values.transpose(0, 2, 3, 1)
    match values.dtype.kind:
        case "b":
            return np.where(values, np.uint8(255), np.uint8(0))
        case "f":
            _check_range(tensor, values, 1, "floating-point pixels lie in 0..1; the model normalises them itself")
            scaled: NDArray[np.float32] = values.astype(np.float32) * np.float32(255)
            return np.rint(scaled).astype(np.uint8)
        case _:
            _check_range(tensor, values, 255, "integer pixels lie in 0..255")
            return np.ascontiguousarray(values, np.uint8)


def to_element_error(error: ServiceError, index: int) -> InvalidInferRequest:
    """What is wrong with one encoded picture, as a refusal that says which one."""
    return InvalidInferRequest(f"input '{INPUT}', element {index}: {error.detail}")


def _check_shape(tensor: Tensor, image_shape: Shape) -> None:
    channels, height, width = image_shape
    accepted: list[tuple[int, ...]] = [(height, width, channels), (channels, height, width)]
    if tensor.datatype == BYTES:
        accepted = [(), (1,)]
    if tensor.shape[1:] not in accepted:
        shapes = " or ".join(str([-1, *item]) for item in accepted)
        raise InvalidInferRequest(
            f"input '{tensor.name}' is {tensor.datatype} of shape {list(tensor.shape)}; the model takes {shapes}"
        )


def _check_range(tensor: Tensor, values: NDArray[Any], largest: int, reason: str) -> None:
    # Written so that not-a-number fails too.
    if values.dtype != np.uint8 and values.size and not (values.min() >= 0 and values.max() <= largest):
        raise InvalidInferRequest(f"input '{tensor.name}' has values outside its range: {reason}")


def _decode_base64(name: str, index: int, element: bytes) -> bytes:
    try:
        return base64.b64decode(element.translate(None, b"\r\n"), validate=True)
    except binascii.Error:
        raise InvalidInferRequest(
            f"input '{name}', element {index} is not base64, as which pictures travel in JSON; "
            "send the bytes themselves as binary data"
        ) from None
