"""The datatypes of the protocol and their numpy dtypes. numpy has no bfloat16, so its bits are stored as uint16."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BF16 = "BF16"
BYTES = "BYTES"
# The protocol's binary tensor data is little-endian, independent of the machine.
NUMPY_DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    BF16: np.dtype("<u2"),
    BYTES: np.dtype("O"),
}
NOT_IN_JSON = frozenset({"FP16", BF16})


def bfloat16_to_float32(bfloat16_bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Convert bits of bfloat16 to float32 without rounding."""
    return (bfloat16_bits.astype(np.uint32) << 16).view(np.float32)


def float32_to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round float32 to the nearest bfloat16, with ties to even. NaN remains NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded).astype(np.uint16)
