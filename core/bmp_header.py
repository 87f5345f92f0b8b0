"""Checks the header of BMP files before a decoder reads them.

Compressed files are rejected: Pillow expands runs in Python, and a run may skip gigabytes of pixels.
Source: Microsoft, "Bitmap Header Types" (BITMAPCOREHEADER to BITMAPV5HEADER).
"""

import struct

from core.errors import InvalidImage, UnsupportedImage
from core.simple_image import SimpleImage

_FILE_HEADER_BYTES = 14
_CORE_HEADER_BYTES = 12
_HEADER_BYTES = (12, 40, 52, 56, 64, 108, 124)
_CORE = struct.Struct("<HHHH")  # width, height, planes, bits
_INFO = struct.Struct("<iiHHL")  # width, height (negative: from top to bottom), planes, bits, compression
_UNCOMPRESSED = (0, 3)  # BI_RGB, BI_BITFIELDS
_BITS = (1, 4, 8, 16, 24, 32)


def is_bmp(body: bytes) -> bool:
    """Return whether a file starts like a BMP. Two bytes alone may also be pixels without a header."""
    return (
        body[:2] == b"BM"
        and int.from_bytes(body[_FILE_HEADER_BYTES : _FILE_HEADER_BYTES + 4], "little") in _HEADER_BYTES
    )


def check_bmp(body: bytes) -> SimpleImage:
    """Return the file with the size in its header. `is_bmp` has accepted the file.

    Raises:
        InvalidImage: the header is damaged or incomplete, or the file has fewer bytes than its pixels need.
        UnsupportedImage: the pixels are compressed, or the number of bits per pixel is unknown.
    """
    try:
        width, height, bits, compression = _read_header(body)
    except struct.error:
        raise _make_damaged_error("the header is incomplete") from None
    if compression not in _UNCOMPRESSED:
        raise _make_unsupported_error(f"the compression {compression}")
    if bits not in _BITS:
        raise _make_unsupported_error(f"{bits} bits per pixel")
    height = abs(height)
    if width <= 0 or not height:
        raise _make_damaged_error("it has no pixels")
    if len(body) < (width * bits + 31) // 32 * 4 * height:
        raise _make_damaged_error("it is truncated")
    return SimpleImage(body, height, width)


def _read_header(body: bytes) -> tuple[int, int, int, int]:
    """Return the width, the height, the number of bits per pixel and the compression."""
    start = _FILE_HEADER_BYTES + 4
    (header_bytes,) = struct.unpack_from("<L", body, _FILE_HEADER_BYTES)
    if header_bytes == _CORE_HEADER_BYTES:
        width, height, _, bits = _CORE.unpack_from(body, start)
        return width, height, bits, 0
    width, height, _, bits, compression = _INFO.unpack_from(body, start)
    return width, height, bits, compression


def _make_damaged_error(reason: str) -> InvalidImage:
    return InvalidImage(f"The BMP image is damaged: {reason}.", code="image_invalid")


def _make_unsupported_error(feature: str) -> UnsupportedImage:
    return UnsupportedImage(
        f"BMP images with {feature} are not supported. Save the image uncompressed, with 1 to 32 bits per pixel.",
        format="BMP",
    )
