"""Decodes image files to pixel arrays, in the same way for dataset imports and predictions.

Rules:

- Formats are JPEG, PNG and WEBP, detected by their first bytes. File names and content types are ignored.
- The image size is read from the header and checked before the pixels are decoded.
- A damaged or truncated image is rejected. An image that needs far more work than its size suggests is rejected too: a
  JPEG with many scans, or a file with thousands of chunks.
- The EXIF orientation is applied. Only the first frame of an animation is decoded.
- 16-bit values are scaled to 8 bits: only the high byte is kept. Pillow converts CMYK to RGB or grey.
- Transparent pixels are blended with white.
- RGB is converted to grey with ITU-R BT.601 luma. Grey is converted to RGB by repeating the channel.
- Resize modes: `stretch` ignores the aspect ratio. `crop` first crops the center to the aspect ratio of the target.
  OpenCV resizes with area interpolation if the height or the width decreases, otherwise with bilinear interpolation.
"""

import io
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from core import exif, jpeg_segments, png_chunks, png_fast
from core.errors import InvalidImage, TooLarge, UnsupportedImage
from core.memory import release_free_memory
from core.pixel_conversion import Pixels, apply_orientation, convert_channels, resize_pixels

MAX_PIXELS = 25_000_000

_MAX_SCANS = 100
_MAX_FULL_SIZE_SCANS = 40  # of an image with `max_pixels`; cameras and encoders write at most about 20 scans
_LARGE_PIXELS = 4 * 2**20
# Called directly instead of through Image.open, so that Pillow does not try decoders of other formats.
_PILLOW_READERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
}
_SWAPPED = range(5, 9)  # the EXIF orientations that swap height and width
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_UNSUPPORTED_SIGNATURES = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"%PDF": "PDF",
    b"%!PS": "PostScript",
    b"8BPS": "PSD",
    b"SIMPLE  =": "FITS",
    b"\0\0\1\0": "ICO",
    b"<svg": "SVG",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
}


class ImageSize(NamedTuple):
    """The size of an image after its EXIF orientation was applied. `channels` is 1 for grey images, otherwise 3."""

    height: int
    width: int
    channels: int


def decode_image(
    body: bytes, image_shape: tuple[int, int, int], *, resize: str = "stretch", max_pixels: int = MAX_PIXELS
) -> Pixels:
    """Decode an image file to a C-contiguous uint8 array of shape (H, W, C).

    Args:
        body: the content of the file.
        image_shape: the shape to convert and resize to, (C, H, W). C is 1 (grey) or 3 (RGB).
        resize: "stretch" or "crop", see the module docstring; default: "stretch".
        max_pixels: the maximum of height times width, checked in the header; default: 25 million.

    Raises:
        InvalidImage: the file is not an image, or is damaged or truncated.
        UnsupportedImage: the format is not JPEG, PNG or WEBP.
        TooLarge: the image has more than `max_pixels` pixels.
    """
    channels, height, width = image_shape
    if channels not in (1, 3):
        raise ValueError(f"image_shape must have 1 or 3 channels, got {channels}")
    pixels = _decode_pixels(body, channels, max_pixels)
    is_large = pixels.shape[0] * pixels.shape[1] >= _LARGE_PIXELS
    pixels = np.ascontiguousarray(resize_pixels(pixels, height, width, resize).reshape(height, width, channels))
    if is_large:
        release_free_memory()
    return pixels


def read_image_size(body: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageSize:
    """Read the size of an image from its header, without decoding the pixels.

    Raises:
        InvalidImage: the file is not an image, or its header is damaged.
        UnsupportedImage: the format is not JPEG, PNG or WEBP.
        TooLarge: the image has more than `max_pixels` pixels.
    """
    kind = detect_format(body)
    header = _read_jpeg_header(body) if kind == "jpeg" else None
    if header:
        height, width, colour = header
        _check_size(height, width, max_pixels)
        orientation = _read_jpeg_orientation(body)
        size = ImageSize(height, width, 1 if colour == "Gray" else 3)
    else:
        image, orientation = _open_with_pillow(body, kind, max_pixels)
        with image:
            size = ImageSize(image.height, image.width, 1 if _is_grey(image) else 3)
    return size._replace(height=size.width, width=size.height) if orientation in _SWAPPED else size


def detect_format(body: bytes) -> str:
    """Detect the format of an image from its first bytes: "jpeg", "png" or "webp".

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
    if body[4:8] == b"ftyp":
        raise UnsupportedImage("HEIF and AVIF images are not supported. Send JPEG, PNG or WEBP.")
    for signature, name in _UNSUPPORTED_SIGNATURES.items():
        if body.startswith(signature):
            raise UnsupportedImage(f"{name} images are not supported. Send JPEG, PNG or WEBP.", format=name)
    raise InvalidImage("The file is not a JPEG, PNG or WEBP image." if body else "The image file is empty.")


def _decode_pixels(body: bytes, channels: int, max_pixels: int) -> Pixels:
    kind = detect_format(body)
    if kind == "png" and (simple := png_fast.decode_simple_png(body, max_pixels)) is not None:
        return simple if (simple.ndim == 2) == (channels == 1) else convert_channels(Image.fromarray(simple), channels)
    header = _read_jpeg_header(body) if kind == "jpeg" else None
    if header and header[2] in ("Gray", "YCbCr", "RGB"):
        _check_size(header[0], header[1], max_pixels)
        _check_scans(body, header[0] * header[1], max_pixels)
        return _decode_jpeg(body, channels)
    image, orientation = _open_with_pillow(body, kind, max_pixels)
    with image:
        if kind == "jpeg":
            _check_scans(body, image.height * image.width, max_pixels)
        try:
            image.load()
            return apply_orientation(convert_channels(image, channels), orientation)
        except MemoryError:
            raise
        except Exception as error:
            raise _make_damaged_error(error) from error


def _read_jpeg_header(body: bytes) -> tuple[int, int, str] | None:
    """Return (height, width, color space), or None if simplejpeg cannot read the header. Pillow may still read it."""
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(body)
    except ValueError:
        return None
    return height, width, colour


def _decode_jpeg(body: bytes, channels: int) -> Pixels:
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(body, "GRAY" if channels == 1 else "RGB", strict=True)
    except ValueError as error:
        raise _make_damaged_error(error) from error
    return apply_orientation(pixels, _read_jpeg_orientation(body))


def _read_jpeg_orientation(body: bytes) -> int:
    return exif.read_orientation(jpeg_segments.find_exif(body)) if b"Exif\0\0" in body[: 2**16] else 1


def _open_with_pillow(body: bytes, kind: str, max_pixels: int) -> tuple[Image.Image, int]:
    """Return the image, whose pixels are not decoded yet, and its EXIF orientation."""
    declared_size = _read_declared_size(body, kind)
    if declared_size:
        _check_size(*declared_size, max_pixels)
    orientation = 1
    if kind == "png":
        body, exif_data = png_chunks.remove_metadata(body)
        orientation = exif.read_orientation(exif_data)
    elif kind == "jpeg":
        orientation = _read_jpeg_orientation(body)
        body = jpeg_segments.remove_metadata(body)
    try:
        image = _PILLOW_READERS[kind](io.BytesIO(body))
    except Exception as error:
        raise _make_damaged_error(error) from error
    _check_size(image.height, image.width, max_pixels)
    if kind == "webp":
        orientation = exif.read_orientation(image.info.get("exif", b""))
    return image, orientation


def _read_declared_size(body: bytes, kind: str) -> tuple[int, int] | None:
    """Return (height, width) from the header, so that the size is checked before a decoder allocates memory.

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


def _check_scans(body: bytes, num_pixels: int, max_pixels: int) -> None:
    """Check the number of scans of a JPEG. Each scan takes time for every pixel, even if it has only a few bytes."""
    max_scans = min(_MAX_SCANS, _MAX_FULL_SIZE_SCANS * max_pixels // max(1, num_pixels))
    if jpeg_segments.count_scans(body, max_scans) > max_scans:
        raise TooLarge(
            f"The JPEG image has more than {max_scans} scans; at most {max_scans} are accepted for its size.",
            code="image_too_complex",
            max_scans=max_scans,
        )


def _check_size(height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise TooLarge(
            f"The image has {width} x {height} pixels; at most {max_pixels} pixels are accepted.",
            code="image_too_large",
            width=width,
            height=height,
            max_pixels=max_pixels,
        )


def _is_grey(image: Image.Image) -> bool:
    return image.mode in _GREY_MODES


def _make_damaged_error(error: Exception) -> InvalidImage:
    return InvalidImage(f"The image is damaged: {error}", code="image_invalid")
