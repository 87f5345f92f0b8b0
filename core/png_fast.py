"""A fast decoder for simple PNG files: 8-bit grey or RGB, with no chunks except pixels."""

import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

_PREFIX = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_SIZE = struct.Struct(">II")
_LENGTH = struct.Struct(">I")
_READ_FLAGS = {  # by bit depth, color type, compression, filter and interlace
    b"\x08\x00\0\0\0": cv2.IMREAD_GRAYSCALE,
    b"\x08\x02\0\0\0": cv2.IMREAD_COLOR_RGB,
}
_HEADER_END = 33
_SUFFIX = b"\0\0\0\0IEND\xaeB`\x82"


def decode_simple_png(body: bytes, max_pixels: int) -> NDArray[np.uint8] | None:
    """Return the pixels, uint8 (H, W) or (H, W, 3), or None if the file is not simple or is damaged.

    The caller decodes all other files with Pillow. OpenCV calls libpng with less overhead than Pillow does.
    Files with damaged, unknown or color chunks never reach OpenCV, because its handling differs from Pillow's.
    libpng reports invalid pixel data on stderr.

    Args:
        body: the whole file.
        max_pixels: the maximum height times width.
    """
    flag = _READ_FLAGS.get(body[24:29]) if body.startswith(_PREFIX) and body.endswith(_SUFFIX) else None
    if flag is None or not _has_valid_checksum(body, 12, _HEADER_END):
        return None
    width, height = _SIZE.unpack_from(body, 16)
    if not 0 < width * height <= max_pixels or not _has_only_image_data(body):
        return None
    try:
        return cv2.imdecode(np.frombuffer(body, np.uint8), flag)  # type: ignore[return-value]  # None if it cannot decode the data
    except cv2.error:  # more pixels than OpenCV's limit
        return None


def _has_only_image_data(body: bytes) -> bool:
    """Return whether all other chunks are IDAT, there is at least one, and all checksums are valid."""
    offset, end = _HEADER_END, len(body) - len(_SUFFIX)
    while offset < end:
        (length,) = _LENGTH.unpack_from(body, offset)
        chunk_end = offset + 12 + length
        if (
            chunk_end > end
            or body[offset + 4 : offset + 8] != b"IDAT"
            or not _has_valid_checksum(body, offset + 4, chunk_end)
        ):
            return False
        offset = chunk_end
    return offset > _HEADER_END


def _has_valid_checksum(body: bytes, start: int, end: int) -> bool:
    """Return whether the checksum of a chunk is valid. `start` is at its type, `end` after its checksum."""
    (checksum,) = _LENGTH.unpack_from(body, end - 4)
    return zlib.crc32(body[start : end - 4]) == int(checksum)
