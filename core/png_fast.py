"""The quick way to read an ordinary PNG: grey or RGB of 8 bits, and nothing but pixels. It knows no other picture."""

import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_SIZE = struct.Struct(">II")
_LENGTH = struct.Struct(">I")
_HOW = {  # by bit depth, colour type, compression, filter, interlace
    b"\x08\x00\0\0\0": cv2.IMREAD_GRAYSCALE,
    b"\x08\x02\0\0\0": cv2.IMREAD_COLOR_RGB,
}
_AFTER_HEADER = 33
_END = b"\0\0\0\0IEND\xaeB`\x82"


def decode(body: bytes, max_pixels: int) -> NDArray[np.uint8] | None:
    """The pixels, uint8 (H, W) or (H, W, 3); None for whatever is not ordinary, or damaged: Pillow may look at that.

    OpenCV decodes the pixels: it calls libpng with less around it than Pillow has. What it makes of chunks that are
    damaged, unknown or about colours is never asked. Of wrong pixels behind right sums libpng tells stderr itself.

    Args:
        body: the file, whole.
        max_pixels: the largest height times width that is decoded.
    """
    how = _HOW.get(body[24:29]) if body.startswith(_HEAD) and body.endswith(_END) else None
    if how is None or not _is_whole(body, 12, _AFTER_HEADER):
        return None
    width, height = _SIZE.unpack_from(body, 16)
    if not 0 < width * height <= max_pixels or not _has_only_pixels(body):
        return None
    try:
        return cv2.imdecode(np.frombuffer(body, np.uint8), how)  # type: ignore[return-value]  # None for no such data
    except cv2.error:  # more pixels than it ever decodes
        return None


def _has_only_pixels(body: bytes) -> bool:
    """Whether all other chunks are IDAT, at least one, with the right sums."""
    at, end = _AFTER_HEADER, len(body) - len(_END)
    while at < end:
        (length,) = _LENGTH.unpack_from(body, at)
        behind = at + 12 + length
        if behind > end or body[at + 4 : at + 8] != b"IDAT" or not _is_whole(body, at + 4, behind):
            return False
        at = behind
    return at > _AFTER_HEADER


def _is_whole(body: bytes, start: int, end: int) -> bool:
    """Whether a chunk, from its type to behind its checksum, is what was written."""
    (checksum,) = _LENGTH.unpack_from(body, end - 4)
    return zlib.crc32(body[start : end - 4]) == int(checksum)
