"""Recognizes the format of image files by their first bytes, and reads the size that they declare."""

import struct
from collections.abc import Callable

from core import bmp_header, gif_blocks, tiff_tags
from core.errors import InvalidImage, UnsupportedImage
from core.simple_image import SimpleImage

ACCEPTED_FORMATS = "JPEG, PNG, WEBP, GIF, BMP or TIFF"
SIMPLIFIERS: dict[str, Callable[[bytes], SimpleImage]] = {
    "gif": gif_blocks.extract_first_frame,
    "bmp": bmp_header.check_bmp,
    "tiff": tiff_tags.extract_first_image,
}
"""Functions that check a file of a format, and return the part that its decoder needs."""
_UNSUPPORTED_SIGNATURES = {
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"8BPS": "PSD",
    b"SIMPLE  =": "FITS",
    b"\0\0\1\0": "ICO",
    b"<svg": "SVG",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
}


def detect_format(body: bytes) -> str:
    """Detect the format of an image from its first bytes: "jpeg", "png", "webp", "gif", "bmp" or "tiff".

    Raises:
        UnsupportedImage: the format is recognized but not supported.
        InvalidImage: the format is unknown, or the file is empty.
    """
    if body[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if body[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "webp"
    if body[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if bmp_header.is_bmp(body):
        return "bmp"
    if tiff_tags.is_tiff(body):
        return "tiff"
    if body[4:8] == b"ftyp":
        raise UnsupportedImage(f"HEIF and AVIF images are not supported. Send {ACCEPTED_FORMATS}.")
    for signature, name in _UNSUPPORTED_SIGNATURES.items():
        if body.startswith(signature):
            raise UnsupportedImage(f"{name} images are not supported. Send {ACCEPTED_FORMATS}.", format=name)
    raise InvalidImage(f"The file is not a {ACCEPTED_FORMATS} image." if body else "The image file is empty.")


def read_declared_size(body: bytes, kind: str) -> tuple[int, int] | None:
    """Return (height, width) of a PNG or WEBP from its header, so that it is checked before a decoder allocates memory.

    Return None for JPEG: Pillow decodes it only in `load()`. Source of WEBP: RFC 9649, sections 2.5 to 2.7 and 3.4.
    """
    if kind == "png" and len(body) >= 24:
        width, height = struct.unpack(">II", body[16:24])
        return height, width
    if kind == "webp" and len(body) >= 30:
        if body[12:16] == b"VP8X":
            width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (24, 27))
            return height, width
        if body[12:16] == b"VP8 ":
            width, height = (size & 0x3FFF for size in struct.unpack("<HH", body[26:30]))
            return height, width
        if body[12:16] == b"VP8L":
            sizes = int.from_bytes(body[21:25], "little")
            return (sizes >> 14 & 0x3FFF) + 1, (sizes & 0x3FFF) + 1
    return None
