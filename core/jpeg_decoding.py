"""Decodes JPEG files, at a reduced size if the image will be shrunk anyway."""

import simplejpeg

from core import exif, jpeg_segments
from core.decoding_memory import LARGE_BYTES
from core.pixel_conversion import SWAPPED_ORIENTATIONS, Pixels, apply_orientation

_SCALES = (8, 4, 2)
_MIN_OVERSAMPLING = (
    2  # the decoded image has at least twice the target height and width; area interpolation does the rest
)
_COEFFICIENT_BYTES = 2
JpegHeader = tuple[int, int, str]
DIRECT_COLORS = frozenset({"Gray", "YCbCr", "RGB"})  # Pillow decodes other color spaces


def read_jpeg_header(body: bytes) -> JpegHeader | None:
    """Return (height, width, color space), or None if simplejpeg cannot read the header. Pillow may still read it."""
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(body)
    except ValueError:
        return None
    return height, width, colour


def read_jpeg_orientation(body: bytes) -> int:
    """Return the EXIF orientation; default: 1."""
    return exif.read_orientation(jpeg_segments.find_exif(body)) if b"Exif\0\0" in body[: 2**16] else 1


def choose_scale(size: tuple[int, int], target: tuple[int, int]) -> int:
    """Return 8, 4, 2 or 1: the divisor of height and width with which a JPEG is decoded.

    libjpeg computes reduced images from the low frequencies of each block. They still have at least twice the target
    size, so that the pixels differ from those of a full decoding by about one value on average.

    Args:
        size: the height and width of the stored image.
        target: the height and width after resizing, in the orientation of the stored image.
    """
    ratio = min(size[0] / target[0], size[1] / target[1])
    return next((scale for scale in _SCALES if ratio >= _MIN_OVERSAMPLING * scale), 1)


def orient_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """Return (height, width), swapped if the EXIF orientation swaps them."""
    return size[::-1] if orientation in SWAPPED_ORIENTATIONS else size


def estimate_jpeg_bytes(body: bytes, size: tuple[int, int], channels: int, scale: int) -> int:
    """Return the number of bytes that decoding needs. A progressive JPEG needs all coefficients at full size."""
    num_pixels = size[0] * size[1]
    num_coefficients_bytes = 3 * _COEFFICIENT_BYTES * num_pixels
    needs_coefficients = num_coefficients_bytes >= LARGE_BYTES and jpeg_segments.count_scans(body, 1) > 1
    return 2 * channels * num_pixels // scale**2 + needs_coefficients * num_coefficients_bytes


def decode_jpeg(body: bytes, size: tuple[int, int], channels: int, *, scale: int, orientation: int) -> Pixels:
    """Decode a JPEG file to uint8 (H, W, C), with its orientation applied.

    Raises:
        ValueError: the file is damaged.
    """
    # simplejpeg selects the smallest size that is not below the minimum.
    min_height, min_width = (-(-side // scale) if scale > 1 else 0 for side in size)
    pixels: Pixels = simplejpeg.decode_jpeg(
        body, "GRAY" if channels == 1 else "RGB", min_height=min_height, min_width=min_width, strict=True
    )
    return apply_orientation(pixels, orientation)
