"""Converts tensors between numpy arrays and the two formats of the protocol, binary data and JSON."""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.oip.datatypes import BF16, BYTES, NOT_IN_JSON, NUMPY_DTYPES, bfloat16_to_float32, float32_to_bfloat16
from app.oip.errors import InvalidInferRequest

MAX_AXES = 16
MAX_ELEMENTS = 2**31 - 1
LENGTH = struct.Struct("<I")
# JSON has no NaN, so MLServer's codecs encode NaN as null. Null is accepted here; NaN is rejected later if necessary.
_JSON_TYPES: dict[str, set[type]] = {
    "f": {int, float, type(None)},
    "i": {int},
    "u": {int},
    "b": {bool, int},
    "O": {str},
}


JSON_TYPE_NAMES: dict[type, str] = {
    int: "integer",
    float: "number",
    bool: "boolean",
    str: "string",
    type(None): "null",
    list: "array",
    dict: "object",
}


class TensorMetadata(NamedTuple):
    """The name, datatype and shape that a request declares for an input. They are checked before its data is read."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """A named array. BF16 is converted to float32, and BYTES has `bytes` elements; other dtypes match the datatype."""

    name: str
    datatype: str
    values: NDArray[Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    from_json: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each axis."""
        return self.values.shape


def check_datatype(name: str, datatype: object) -> str:
    """Return the datatype. Raises InvalidInferRequest if the protocol does not define it."""
    if isinstance(datatype, str) and datatype in NUMPY_DTYPES:
        return datatype
    raise InvalidInferRequest(
        f"input '{name}' has the unknown datatype {datatype!r:.40}; supported: {', '.join(NUMPY_DTYPES)}"
    )


def check_shape(name: str, shape: object) -> tuple[int, ...]:
    """Return the shape. Raises InvalidInferRequest if the shape is not an array of valid sizes."""
    if not isinstance(shape, list) or not shape or len(shape) > MAX_AXES:
        raise InvalidInferRequest(f"input '{name}' must have a shape: an array of 1 to {MAX_AXES} integers")
    num_elements = 1  # without zeros, as in numpy's own check
    for size in shape:
        if type(size) is not int or size < 0:
            raise InvalidInferRequest(f"input '{name}' has a shape with a size that is not an integer of at least 0")
        num_elements *= size or 1
    if num_elements > MAX_ELEMENTS:
        raise InvalidInferRequest(f"input '{name}' has a shape with more than {MAX_ELEMENTS} elements")
    return tuple(shape)


def from_bytes(name: str, datatype: str, shape: tuple[int, ...], body: memoryview) -> NDArray[Any]:
    """Return an array from little-endian bytes in row-major order. Only BF16 and BYTES elements are copied.

    Raises:
        InvalidInferRequest: the number of bytes does not match the shape and datatype.
    """
    if datatype == BYTES:
        return _split_elements(name, shape, body)
    expected = math.prod(shape) * NUMPY_DTYPES[datatype].itemsize
    if len(body) != expected:
        raise InvalidInferRequest(
            f"input '{name}' has {len(body)} bytes, but {datatype} of shape {list(shape)} requires {expected} bytes"
        )
    values = np.frombuffer(body, NUMPY_DTYPES[datatype]).reshape(shape)
    return bfloat16_to_float32(values) if datatype == BF16 else values


def to_bytes(values: NDArray[Any], datatype: str) -> bytes:
    """Return the bytes of an array, the inverse of `from_bytes`."""
    if datatype == BYTES:
        return b"".join(part for element in values.ravel() for part in (LENGTH.pack(len(element)), element))
    if datatype == BF16:
        values = float32_to_bfloat16(values)
    return np.ascontiguousarray(values, NUMPY_DTYPES[datatype]).tobytes()


def from_json(name: str, datatype: str, shape: tuple[int, ...], content: object) -> NDArray[Any]:
    """Return an array from a nested or flat list. The strings of a BYTES tensor are encoded as UTF-8.

    Raises:
        InvalidInferRequest: the elements do not match the shape and datatype, or the datatype is not allowed in JSON.
    """
    if datatype in NOT_IN_JSON:
        raise InvalidInferRequest(f"input '{name}' is {datatype}, which JSON cannot represent; send it as binary data")
    elements = _flatten(name, shape, content)
    dtype = NUMPY_DTYPES[datatype]
    types = set(map(type, elements))
    if dtype.kind in "iu" and float in types:
        elements = _convert_whole_numbers(name, datatype, elements)
        types.remove(float)
    wrong_types = types - _JSON_TYPES[dtype.kind]
    if wrong_types:
        names = ", ".join(sorted(JSON_TYPE_NAMES.get(kind, kind.__name__) for kind in wrong_types))
        raise InvalidInferRequest(f"input '{name}' has elements that are not {datatype}: {names}")
    if datatype == BYTES:
        return _to_object_array([element.encode("utf-8", "surrogatepass") for element in elements], shape)
    return _to_numeric_array(name, datatype, elements).reshape(shape)


def to_json(values: NDArray[Any], datatype: str) -> Any:  # noqa: ANN401 - a numpy array that orjson writes, or a list
    """Return the elements as a flat sequence in row-major order. Elements of BYTES must be UTF-8."""
    if datatype == BYTES:
        return [element.decode("utf-8") for element in values.ravel()]
    return np.ascontiguousarray(values.ravel())


def _split_elements(name: str, shape: tuple[int, ...], body: memoryview) -> NDArray[Any]:
    expected, at = math.prod(shape), 0
    elements: list[bytes] = []
    while at < len(body):
        if len(elements) == expected:
            raise InvalidInferRequest(f"input '{name}' has {len(body) - at} bytes after its {expected} elements")
        start = at + LENGTH.size
        end = start + LENGTH.unpack_from(body, at)[0] if start <= len(body) else math.inf
        if end > len(body):
            raise InvalidInferRequest(f"input '{name}' ends within element {len(elements)}")
        elements.append(bytes(body[start : int(end)]))
        at = int(end)
    if len(elements) != expected:
        raise InvalidInferRequest(
            f"input '{name}' has {len(elements)} elements, but shape {list(shape)} has {expected}"
        )
    return _to_object_array(elements, shape)


def _to_object_array(elements: Sequence[bytes], shape: tuple[int, ...]) -> NDArray[Any]:
    values = np.empty(len(elements), object)
    values[:] = elements
    return values.reshape(shape)


def _flatten(name: str, shape: tuple[int, ...], content: object) -> list[Any]:
    if not isinstance(content, list):
        raise InvalidInferRequest(f"the data of input '{name}' must be an array")
    is_nested = bool(content) and isinstance(content[0], list)
    elements = content[: shape[0] + 1] if is_nested else content
    for axis, size in enumerate(shape[1:], start=1) if is_nested else ():
        if not all(isinstance(row, list) and len(row) == size for row in elements):
            raise _make_axis_error(name, shape, axis)
        elements = list(chain.from_iterable(elements))
    if is_nested and len(content) != shape[0]:
        raise _make_axis_error(name, shape, 0)
    if len(elements) != math.prod(shape):
        raise InvalidInferRequest(
            f"input '{name}' has {len(elements)} elements, but shape {list(shape)} has {math.prod(shape)}"
        )
    return elements


def _make_axis_error(name: str, shape: tuple[int, ...], axis: int) -> InvalidInferRequest:
    return InvalidInferRequest(
        f"the data of input '{name}' is not of shape {list(shape)}: axis {axis} must have size {shape[axis]}"
    )


def _convert_whole_numbers(name: str, datatype: str, elements: list[Any]) -> list[Any]:
    """Return the elements with numbers such as 1.0 as integers, which they are in JSON Schema."""
    for element in elements:
        if type(element) is float and not element.is_integer():
            raise InvalidInferRequest(f"input '{name}' has elements that are not {datatype}: number {element!r}")
    return [int(element) if type(element) is float else element for element in elements]


def _to_numeric_array(name: str, datatype: str, elements: list[Any]) -> NDArray[Any]:
    dtype = NUMPY_DTYPES[datatype]
    if dtype.kind == "b" and not set(elements) <= {0, 1}:
        raise InvalidInferRequest(f"input '{name}' is BOOL and has a number other than 0 and 1")
    try:
        with np.errstate(over="ignore"):  # numbers out of range become infinite and are rejected later
            return np.array(elements, dtype)
    except OverflowError:
        raise InvalidInferRequest(f"input '{name}' has a number outside the range of {datatype}") from None
