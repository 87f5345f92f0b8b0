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
_MAX_CHUNKS = 1024
_MAX_BYTES = 2 * 2**20  # decompressed; larger images are not faster than with Pillow
_MAX_TRUSTED_BYTES = 2**11  # compressed; at most 2 MiB decompressed, which takes a few milliseconds
_SUFFIX = b"\0\0\0\0IEND\xaeB`\x82"


def decode_simple_png(body: bytes, max_pixels: int) -> NDArray[np.uint8] | None:
    """Decode a simple PNG file to uint8 pixels of shape (H, W) or (H, W, 3). Return None for all other files.

    Files with more than 2 MiB of pixels are not simple. The caller decodes all other files, also damaged ones, with
    Pillow. OpenCV has less overhead than Pillow, but it handles damaged, unknown and color-space chunks differently.
    Files with such chunks are not passed to OpenCV.
    If the pixel data is invalid, libpng writes a warning to stderr.

    Args:
        body: the content of the file.
        max_pixels: the maximum of height times width; None is returned for larger images.
    """
    flag = _READ_FLAGS.get(body[24:29]) if body.startswith(_PREFIX) and body.endswith(_SUFFIX) else None
    if flag is None or not _has_valid_checksum(body, 12, _HEADER_END):
        return None
    width, height = _SIZE.unpack_from(body, 16)
    num_bytes = height * (1 + width * (1 if flag == cv2.IMREAD_GRAYSCALE else 3))
    if not 0 < width * height <= max_pixels or num_bytes > _MAX_BYTES:
        return None
    compressed = _read_image_data(body)
    if compressed is None:
        return None
    if len(compressed) > _MAX_TRUSTED_BYTES:
        stored = _store_pixels(compressed, num_bytes)
        if stored is None:
            return None
        body = b"".join([body[:_HEADER_END], _encode_chunk(b"IDAT" + stored), _SUFFIX])
    try:
        return cv2.imdecode(np.frombuffer(body, np.uint8), flag)  # type: ignore[return-value]  # None if the data is invalid
    except cv2.error:  # the image has more pixels than OpenCV allows
        return None


def _read_image_data(body: bytes) -> bytes | None:
    """Return the content of the IDAT chunks, or None if there are other chunks or invalid checksums."""
    chunks: list[bytes] = []
    offset, end = _HEADER_END, len(body) - len(_SUFFIX)
    while offset < end:
        (length,) = _LENGTH.unpack_from(body, offset)
        chunk_end = offset + 12 + length
        if (
            chunk_end > end
            or body[offset + 4 : offset + 8] != b"IDAT"
            or not _has_valid_checksum(body, offset + 4, chunk_end)
            or len(chunks) == _MAX_CHUNKS
        ):
            return None
        chunks.append(body[offset + 8 : chunk_end - 4])
        offset = chunk_end
    return b"".join(chunks) if chunks else None


def _store_pixels(compressed: bytes, num_bytes: int) -> bytes | None:
    """Return the data without compression, or None if it is invalid or does not have `num_bytes` bytes.

    libpng decompresses all data, even if it has more bytes than the image. Stored data takes no time to decompress.
    """
    stream = zlib.decompressobj()
    try:
        pixels = stream.decompress(compressed, num_bytes + 1)
    except zlib.error:
        return None
    return zlib.compress(pixels, 0) if len(pixels) == num_bytes and stream.eof else None


def _encode_chunk(content: bytes) -> bytes:
    """Return a chunk with its length and checksum. The content starts with the type."""
    return _LENGTH.pack(len(content) - 4) + content + _LENGTH.pack(zlib.crc32(content))


def _has_valid_checksum(body: bytes, start: int, end: int) -> bool:
    """Return whether a chunk's checksum is valid. The chunk's type is at `start`; its checksum ends before `end`."""
    (checksum,) = _LENGTH.unpack_from(body, end - 4)
    return zlib.crc32(body[start : end - 4]) == int(checksum)
