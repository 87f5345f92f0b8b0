"""Decodes simple PNG files quickly with OpenCV: 8-bit grey or RGB, with no chunks except IHDR, IDAT and IEND."""

import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

_PREFIX = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_SIZE = struct.Struct(">II")
_LENGTH = struct.Struct(">I")
_READ_FLAGS = {  # the keys are the bytes of bit depth, color type, compression, filter and interlace
    b"\x08\x00\0\0\0": cv2.IMREAD_GRAYSCALE,
    b"\x08\x02\0\0\0": cv2.IMREAD_COLOR_RGB,
}
_HEADER_END = 33
_SUFFIX = b"\0\0\0\0IEND\xaeB`\x82"


def decode_simple_png(body: bytes, max_pixels: int) -> NDArray[np.uint8] | None:
    """Decode a simple PNG file to uint8 pixels of shape (H, W) or (H, W, 3). Return None for all other files.

    The caller decodes all other files, including damaged ones, with Pillow. OpenCV has less overhead than Pillow, but
    handles damaged, unknown and color-space chunks differently, so files with such chunks are not passed to OpenCV.
    If the pixel data is invalid, libpng writes a warning to stderr.

    Args:
        body: the content of the file.
        max_pixels: the maximum of height times width; None is returned for larger images.
    """
    flag = _READ_FLAGS.get(body[24:29]) if body.startswith(_PREFIX) and body.endswith(_SUFFIX) else None
    if flag is None or not _has_valid_checksum(body, 12, _HEADER_END):
        return None
    width, height = _SIZE.unpack_from(body, 16)
    if not 0 < width * height <= max_pixels or not _has_only_image_data(body):
        return None
    try:
        return cv2.imdecode(np.frombuffer(body, np.uint8), flag)  # type: ignore[return-value]  # None if the data is invalid
    except cv2.error:  # the image has more pixels than OpenCV allows
        return None


def _has_only_image_data(body: bytes) -> bool:
    """Return whether the chunks between IHDR and IEND are one or more IDAT chunks with valid checksums."""
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
    """Return whether a chunk's checksum is valid. The chunk's type is at `start`; its checksum ends before `end`."""
    (checksum,) = _LENGTH.unpack_from(body, end - 4)
    return zlib.crc32(body[start : end - 4]) == int(checksum)
