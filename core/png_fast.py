"""The quick way to read an ordinary PNG: grey or RGB of 8 bits, and nothing but pixels. It knows no other picture."""

import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

_PREFIX = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_SIZE = struct.Struct(">II")
_LENGTH = struct.Struct(">I")
_READ_FLAGS = {  # by bit depth, colour type, compression, filter, interlace
    b"\x08\x00\0\0\0": cv2.IMREAD_GRAYSCALE,
    b"\x08\x02\0\0\0": cv2.IMREAD_COLOR_RGB,
}
_HEADER_END = 33
_SUFFIX = b"\0\0\0\0IEND\xaeB`\x82"


def decode_simple_png(body: bytes, max_pixels: int) -> NDArray[np.uint8] | None:
    """The pixels, uint8 (H, W) or (H, W, 3); None for whatever is not ordinary, or damaged: Pillow may look at that.

    OpenCV decodes the pixels: it calls libpng with less around it than Pillow has. What it makes of chunks that are
    damaged, unknown or about colours is never asked. Of wrong pixels behind right sums libpng tells stderr itself.

    Args:
        body: the file, whole.
        max_pixels: the largest height times width that is decoded.
    """
    flag = _READ_FLAGS.get(body[24:29]) if body.startswith(_PREFIX) and body.endswith(_SUFFIX) else None
    if flag is None or not _has_valid_checksum(body, 12, _HEADER_END):
        return None
    width, height = _SIZE.unpack_from(body, 16)
    if not 0 < width * height <= max_pixels or not _has_only_image_data(body):
        return None
    try:
        return cv2.imdecode(np.frombuffer(body, np.uint8), flag)  # type: ignore[return-value]  # None for no such data
    except cv2.error:  # more pixels than it ever decodes
        return None


def _has_only_image_data(body: bytes) -> bool:
    """Whether all other chunks are IDAT, at least one, with the right sums."""
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
    """Whether a chunk, from its type to behind its checksum, is what was written."""
    (checksum,) = _LENGTH.unpack_from(body, end - 4)
    return zlib.crc32(body[start : end - 4]) == int(checksum)
