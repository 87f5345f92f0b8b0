"""Removes the chunks of PNG files that are not needed for decoding.

Pillow decompresses color profiles and texts, and parses each chunk in Python. A small file may have thousands of them.
"""

import struct
import zlib
from typing import NamedTuple

from core.errors import InvalidImage, TooLarge

_SIGNATURE_BYTES, _FRAME_BYTES = 8, 12  # a chunk has a length, a type and a checksum in addition to its content
_LENGTH = struct.Struct(">I")
_ANCILLARY_BIT = 0x20
_MAX_CHUNKS = 20_000
_MAX_TEXT_BYTES = 2 * 2**20  # of all compressed texts and profiles, uncompressed


class SimplePng(NamedTuple):
    """A PNG file with the chunks that determine its pixels, and the EXIF data of the original file."""

    body: bytes
    exif: bytes


def remove_metadata(body: bytes) -> SimplePng:
    """Return the file without metadata and without all frames of an animation but the first.

    Truncated and damaged files remain so.

    Raises:
        TooLarge: the file has too many chunks.
        InvalidImage: the compressed texts or color profiles are too large.
    """
    retained: list[bytes] = []
    exif = b""
    retain_from = offset = 0
    end = _SIGNATURE_BYTES
    num_chunks, max_text_bytes = 0, _MAX_TEXT_BYTES
    while end + _FRAME_BYTES <= len(body):
        offset = end
        kind = body[offset + 4 : offset + 8]
        end = offset + _FRAME_BYTES + int(_LENGTH.unpack_from(body, offset)[0])
        num_chunks += 1
        if num_chunks > _MAX_CHUNKS:
            raise TooLarge(
                f"The image has more than {_MAX_CHUNKS} chunks.", code="image_too_complex", max_chunks=_MAX_CHUNKS
            )
        if end > len(body) or kind == b"IEND":
            break
        if kind[0] & _ANCILLARY_BIT and kind != b"tRNS":
            retained.append(body[retain_from:offset])
            retain_from = end
            content = body[offset + 8 : end - 4]
            exif = exif or (content if kind == b"eXIf" else b"")
            max_text_bytes -= _measure_text(kind, content, max_text_bytes)
    return SimplePng(b"".join([*retained, body[retain_from:]]) if retained else body, exif)


def _measure_text(kind: bytes, content: bytes, max_bytes: int) -> int:
    """Return the uncompressed size of a compressed text or color profile, and 0 for other chunks.

    Raises:
        InvalidImage: it has more than `max_bytes` bytes.
    """
    _, _, value = content.partition(b"\0")  # after the keyword or the name
    if kind == b"iTXt":
        is_compressed, value = value[:1] == b"\1", value[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        is_compressed, value = kind in (b"zTXt", b"iCCP"), value[1:]
    if not is_compressed:
        return 0
    try:
        size = len(zlib.decompressobj().decompress(value, max_bytes + 1))
    except zlib.error:  # the pixels are valid even if the text is not
        return 0
    if size > max_bytes:
        raise InvalidImage(
            f"The compressed texts and color profiles of the image have more than {_MAX_TEXT_BYTES} bytes.",
            code="image_too_complex",
            max_bytes=_MAX_TEXT_BYTES,
        )
    return size
