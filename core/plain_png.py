"""The quick way to read an ordinary PNG: grey or RGB of 8 bits, and nothing but pixels. It knows no other picture."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_SIZE = struct.Struct(">II")
_LENGTH = struct.Struct(">I")
_MODES = {b"\x08\x00\0\0\0": "L", b"\x08\x02\0\0\0": "RGB"}  # bit depth, colour type, compression, filter, interlace
_AFTER_HEADER = 33
_END = b"\0\0\0\0IEND\xaeB`\x82"


def decode(body: bytes, max_pixels: int) -> NDArray[np.uint8] | None:
    """The pixels, uint8 (H, W) or (H, W, 3); None for whatever is not ordinary, or damaged: Pillow may look at that.

    Pillow's own decoder of pixels is used; what is left out is its search for all that such a file has not.

    Args:
        body: the file, whole.
        max_pixels: the largest height times width that is decoded.
    """
    mode = _MODES.get(body[24:29]) if body.startswith(_HEAD) and body.endswith(_END) else None
    if mode is None or not _is_whole(body, 12, _AFTER_HEADER):
        return None
    width, height = _SIZE.unpack_from(body, 16)
    compressed = _compressed(body) if 0 < width * height <= max_pixels else None
    if not compressed:
        return None
    try:
        return np.asarray(Image.frombytes(mode, (width, height), compressed, "zip", mode))
    except ValueError:  # too short, or no such data
        return None


def _compressed(body: bytes) -> bytes | None:
    """What all IDAT chunks hold; None where there are others, or a sum is wrong."""
    parts, at, end = [], _AFTER_HEADER, len(body) - len(_END)
    while at < end:
        (length,) = _LENGTH.unpack_from(body, at)
        behind = at + 12 + length
        if behind > end or body[at + 4 : at + 8] != b"IDAT" or not _is_whole(body, at + 4, behind):
            return None
        parts.append(body[at + 8 : behind - 4])
        at = behind
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _is_whole(body: bytes, start: int, end: int) -> bool:
    """Whether a chunk, from its type to behind its checksum, is what was written."""
    (checksum,) = _LENGTH.unpack_from(body, end - 4)
    return zlib.crc32(body[start : end - 4]) == int(checksum)
