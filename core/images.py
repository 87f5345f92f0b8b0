"""Decodes image files to pixel arrays, in the same way for dataset imports and predictions.

Rules:

- Formats are JPEG, PNG and WEBP, detected by their first bytes. File names and content types are ignored.
- The image size is read from the header and checked before the pixels are decoded.
- A damaged or truncated image is rejected. An image that needs far more work than its size suggests is rejected too: a
  JPEG with many scans, or a file with thousands of chunks.
- The EXIF orientation is applied. Only the first frame of an animation is decoded.
- 16-bit values are scaled to 8 bits: only the high byte is kept. Pillow converts CMYK to RGB or grey.
- Transparent pixels are blended with white.
- A JPEG that is at least four times as high and as wide as needed is decoded at 1/2, 1/4 or 1/8 of its size.
- Large images need much memory while they are decoded. Threads decode only as many at a time as 256 MiB allow, and
  larger ones one at a time.
- RGB is converted to grey with ITU-R BT.601 luma. Grey is converted to RGB by repeating the channel.
- Resize modes: `stretch` ignores the aspect ratio. `crop` first crops the center to the aspect ratio of the target.
  OpenCV resizes with area interpolation if the height or the width decreases, otherwise with bilinear interpolation.
"""

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from core import exif, jpeg_decoding, jpeg_segments, png_chunks, png_fast
from core.decoding_memory import DECODING_MEMORY, LARGE_BYTES
from core.errors import IMAGE_TOO_LARGE, InvalidImage, TooLarge, UnsupportedImage
from core.memory import release_free_memory
from core.pixel_conversion import (
    SWAPPED_ORIENTATIONS,
    Pixels,
    apply_orientation,
    convert_channels,
    resize_pixels,
)

MAX_PIXELS = 25_000_000

_MAX_SCANS = 100
_MAX_FULL_SIZE_SCANS = 40  # of an image with `max_pixels`; cameras and encoders write at most about 20 scans
_RELEASED_BYTES = LARGE_BYTES // 2  # after images that need more, free memory is returned to the operating system
# Called directly instead of through Image.open, so that Pillow does not try decoders of other formats.
_PILLOW_READERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
}
_PILLOW_PIXEL_BYTES = 8  # bytes per pixel of the decoded image and its copy as RGB
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
    kind = detect_format(body)
    if kind == "png" and (pixels := png_fast.decode_simple_png(body, max_pixels)) is not None:
        if (pixels.ndim == 2) != (channels == 1):
            pixels = convert_channels(Image.fromarray(pixels), channels)
        return _fit_pixels(pixels, image_shape, resize)
    header = jpeg_decoding.read_jpeg_header(body) if kind == "jpeg" else None
    if header and header[2] in jpeg_decoding.DIRECT_COLORS:
        _check_size(*header[:2], max_pixels)
        _check_scans(body, header[0] * header[1], max_pixels)
        orientation = jpeg_decoding.read_jpeg_orientation(body)
        scale = jpeg_decoding.choose_scale(header[:2], jpeg_decoding.orient_size((height, width), orientation))
        with _reserve_memory(jpeg_decoding.estimate_jpeg_bytes(body, header[:2], channels, scale)):
            return _decode_jpeg(body, header[:2], image_shape, resize, scale=scale, orientation=orientation)
    size = _read_declared_size(body, kind) or header or (0, 0)
    _check_size(*size[:2], max_pixels)
    with _reserve_memory(_PILLOW_PIXEL_BYTES * size[0] * size[1]):
        return _decode_with_pillow(body, kind, image_shape, resize, max_pixels)


def read_image_size(body: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageSize:
    """Read the size of an image from its header, without decoding the pixels.

    Raises:
        InvalidImage: the file is not an image, or its header is damaged.
        UnsupportedImage: the format is not JPEG, PNG or WEBP.
        TooLarge: the image has more than `max_pixels` pixels.
    """
    kind = detect_format(body)
    header = jpeg_decoding.read_jpeg_header(body) if kind == "jpeg" else None
    if header:
        height, width, colour = header
        _check_size(height, width, max_pixels)
        orientation = jpeg_decoding.read_jpeg_orientation(body)
        size = ImageSize(height, width, 1 if colour == "Gray" else 3)
    else:
        image, orientation = _open_with_pillow(body, kind, max_pixels)
        with image:
            size = ImageSize(image.height, image.width, 1 if _is_grey(image) else 3)
    return size._replace(height=size.width, width=size.height) if orientation in SWAPPED_ORIENTATIONS else size


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


def _decode_jpeg(
    body: bytes,
    size: tuple[int, int],
    image_shape: tuple[int, int, int],
    resize: str,
    *,
    scale: int,
    orientation: int,
) -> Pixels:
    try:
        pixels = jpeg_decoding.decode_jpeg(body, size, image_shape[0], scale=scale, orientation=orientation)
    except ValueError as error:
        raise _make_damaged_error(error) from error
    return _fit_pixels(pixels, image_shape, resize)


def _decode_with_pillow(
    body: bytes, kind: str, image_shape: tuple[int, int, int], resize: str, max_pixels: int
) -> Pixels:
    channels, height, width = image_shape
    image, orientation = _open_with_pillow(body, kind, max_pixels)
    with image:
        if kind == "jpeg":
            _check_scans(body, image.height * image.width, max_pixels)
            min_height, min_width = jpeg_decoding.orient_size((2 * height, 2 * width), orientation)
            image.draft(None, (min_width, min_height))  # decodes at 1/2, 1/4 or 1/8 if the image remains larger
        try:
            image.load()
            pixels = apply_orientation(convert_channels(image, channels), orientation)
        except MemoryError:
            raise
        except Exception as error:
            raise _make_damaged_error(error) from error
    return _fit_pixels(pixels, image_shape, resize)


def _fit_pixels(pixels: Pixels, image_shape: tuple[int, int, int], resize: str) -> Pixels:
    channels, height, width = image_shape
    return np.ascontiguousarray(resize_pixels(pixels, height, width, resize).reshape(height, width, channels))


@contextmanager
def _reserve_memory(num_bytes: int) -> Iterator[None]:
    """Reserve memory for decoding. Afterwards, return free memory to the operating system."""
    with DECODING_MEMORY.reserve(num_bytes):
        yield
        if num_bytes >= _RELEASED_BYTES:
            release_free_memory()


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
        orientation = jpeg_decoding.read_jpeg_orientation(body)
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
            f"The image has {width} x {height} pixels; at most {max_pixels} pixels are accepted. "
            "The operator can raise CANDELA_MAX_IMAGE_PIXELS.",
            code=IMAGE_TOO_LARGE,
            setting="CANDELA_MAX_IMAGE_PIXELS",
            width=width,
            height=height,
            max_pixels=max_pixels,
        )


def make_file_size_error(max_bytes: int) -> TooLarge:
    """Return the error for an image file with more than `max_bytes` bytes."""
    return TooLarge(
        f"The file has more than {max_bytes} bytes. The operator can raise CANDELA_MAX_IMAGE_BYTES.",
        code=IMAGE_TOO_LARGE,
        setting="CANDELA_MAX_IMAGE_BYTES",
        max_bytes=max_bytes,
    )


def _is_grey(image: Image.Image) -> bool:
    return image.mode in _GREY_MODES


def _make_damaged_error(error: Exception) -> InvalidImage:
    return InvalidImage(f"The image is damaged: {error}", code="image_invalid")
