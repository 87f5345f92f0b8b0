"""Decodes image files to pixel arrays, in the same way for dataset imports and predictions.

Rules:

- Formats are JPEG, PNG, WEBP, GIF, BMP and TIFF, detected by their first bytes. File names and content types are
  ignored.
- BMP files without compression are accepted, and TIFF files with unsigned integers of at most 16 bits that are stored
  without compression or with LZW, Deflate or PackBits.
- The image size is read from the header and checked before the pixels are decoded.
- A damaged or truncated image is rejected. An image that needs far more work than its size suggests is rejected too: a
  JPEG with many scans, or a file with thousands of chunks.
- The EXIF orientation is applied. Only the first frame of an animation and the first page of a TIFF are decoded.
- 16-bit values are scaled to 8 bits: only the high byte is kept. Pillow converts CMYK to RGB or grey.
- Transparent pixels are blended with white.
- A JPEG that is at least four times as high and as wide as needed is decoded at 1/2, 1/4 or 1/8 of its size. With a
  shorter side or padding, the size that is needed is that of the whole scaled image.
- Large images need much memory while they are decoded. Threads decode only as many at a time as 256 MiB allow, and
  larger ones one at a time.
- RGB is converted to grey with ITU-R BT.601 luma. Grey is converted to RGB by repeating the channel.
- `core.resizing` states how images are resized.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from core import exif, jpeg_decoding, jpeg_segments, png_chunks, png_fast
from core.decoding_memory import DECODING_MEMORY, LARGE_BYTES
from core.errors import IMAGE_TOO_LARGE, InvalidImage, TooLarge
from core.image_formats import SIMPLIFIERS, detect_format, read_declared_size
from core.memory import release_free_memory
from core.pixel_conversion import SWAPPED_ORIENTATIONS, Pixels, apply_orientation, convert_channels
from core.resizing import STRETCH, ResizePolicy, compute_scaled_size, resize_pixels

MAX_PIXELS = 25_000_000

_MAX_SCANS = 100
_MAX_FULL_SIZE_SCANS = 40  # of an image with `max_pixels`; cameras and encoders write at most about 20 scans
_RELEASED_BYTES = LARGE_BYTES // 2  # after images that need more, free memory is returned to the operating system
# Called directly instead of through Image.open, so that Pillow does not try decoders of other formats.
_PILLOW_READERS: dict[str, Callable[[io.BytesIO], Image.Image]] = {
    "jpeg": JpegImageFile,
    "png": PngImageFile,
    "webp": WebPImageFile,
    "gif": GifImageFile,
    "bmp": BmpImageFile,
    "tiff": TiffImageFile,
}
_PILLOW_PIXEL_BYTES = 8  # bytes per pixel of the decoded image and its copy as RGB
_TIFF_PIXEL_BYTES = 16  # with the samples of a strip, of 16 bits, that has the whole image
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})


class _PillowFile(NamedTuple):
    """An image file without metadata, for a decoder of Pillow.

    Attributes:
        kind: the format, a key of `_PILLOW_READERS`.
        size: the declared height and width, or None for JPEG.
        orientation: the EXIF orientation. That of a WEBP is known after the file was opened.
    """

    body: bytes
    kind: str
    size: tuple[int, int] | None
    orientation: int = 1


class ImageSize(NamedTuple):
    """The size of an image after its EXIF orientation was applied. `channels` is 1 for grey images, otherwise 3."""

    height: int
    width: int
    channels: int


def decode_image(
    body: bytes,
    image_shape: tuple[int, int, int],
    *,
    resize: ResizePolicy = STRETCH,
    max_pixels: int = MAX_PIXELS,
) -> Pixels:
    """Decode an image file to a C-contiguous uint8 array of shape (H, W, C).

    Args:
        body: the content of the file.
        image_shape: the shape to convert and resize to, (C, H, W). C is 1 (grey) or 3 (RGB).
        resize: how the image is resized; default: it is stretched.
        max_pixels: the maximum of height times width, checked in the header; default: 25 million.

    Raises:
        InvalidImage: the file is not an image, or is damaged or truncated.
        UnsupportedImage: the format is not supported, or the file uses a feature of it that is not.
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
        needed = _compute_needed_size(header[:2], (height, width), orientation, resize)
        scale = jpeg_decoding.choose_scale(header[:2], needed)
        with _reserve_memory(jpeg_decoding.estimate_jpeg_bytes(body, header[:2], channels, scale)):
            return _decode_jpeg(body, header[:2], image_shape, resize, scale=scale, orientation=orientation)
    file = _prepare_file(body, kind, max_pixels)
    size = file.size or header or (0, 0)
    _check_size(*size[:2], max_pixels)
    pixel_bytes = _TIFF_PIXEL_BYTES if kind == "tiff" else _PILLOW_PIXEL_BYTES
    with _reserve_memory(pixel_bytes * size[0] * size[1]):
        return _decode_with_pillow(file, image_shape, resize, max_pixels)


def read_image_size(body: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageSize:
    """Read the size of an image from its header, without decoding the pixels.

    Raises:
        InvalidImage: the file is not an image, or its header is damaged.
        UnsupportedImage: the format is not supported, or the file uses a feature of it that is not.
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
        image, orientation = _open_with_pillow(_prepare_file(body, kind, max_pixels), max_pixels)
        with image:
            size = ImageSize(image.height, image.width, 1 if _is_grey(image, kind) else 3)
    return size._replace(height=size.width, width=size.height) if orientation in SWAPPED_ORIENTATIONS else size


def _compute_needed_size(
    size: tuple[int, int], target: tuple[int, int], orientation: int, resize: ResizePolicy
) -> tuple[int, int]:
    """Return the height and width that a decoder must not go below, in the orientation of the stored image."""
    scaled = compute_scaled_size(jpeg_decoding.orient_size(size, orientation), target, resize)
    return jpeg_decoding.orient_size(scaled, orientation)


def _decode_jpeg(
    body: bytes,
    size: tuple[int, int],
    image_shape: tuple[int, int, int],
    resize: ResizePolicy,
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
    file: _PillowFile, image_shape: tuple[int, int, int], resize: ResizePolicy, max_pixels: int
) -> Pixels:
    channels, height, width = image_shape
    image, orientation = _open_with_pillow(file, max_pixels)
    with image:
        if file.kind == "jpeg":
            _check_scans(file.body, image.height * image.width, max_pixels)
            needed = _compute_needed_size((image.height, image.width), (height, width), orientation, resize)
            # Decodes at 1/2, 1/4 or 1/8 if the image remains larger.
            image.draft(None, (2 * needed[1], 2 * needed[0]))
        try:
            image.load()
            pixels = apply_orientation(convert_channels(image, channels), orientation)
        except MemoryError:
            raise
        except Exception as error:
            raise _make_damaged_error(error) from error
    return _fit_pixels(pixels, image_shape, resize)


def _fit_pixels(pixels: Pixels, image_shape: tuple[int, int, int], resize: ResizePolicy) -> Pixels:
    channels, height, width = image_shape
    return np.ascontiguousarray(resize_pixels(pixels, height, width, resize).reshape(height, width, channels))


@contextmanager
def _reserve_memory(num_bytes: int) -> Iterator[None]:
    """Reserve memory for decoding. Afterwards, return free memory to the operating system."""
    with DECODING_MEMORY.reserve(num_bytes):
        yield
        if num_bytes >= _RELEASED_BYTES:
            release_free_memory()


def _prepare_file(body: bytes, kind: str, max_pixels: int) -> _PillowFile:
    """Check the size that the header declares, and remove the parts of the file that are not needed for decoding.

    Pillow is called only after this: it decodes a WEBP when it opens the file, for example.
    """
    if kind in SIMPLIFIERS:
        simple = SIMPLIFIERS[kind](body)
        _check_size(simple.height, simple.width, max_pixels)
        orientation = exif.read_orientation(body) if kind == "tiff" else 1  # EXIF data has the form of a TIFF file
        return _PillowFile(simple.body, kind, (simple.height, simple.width), orientation)
    size = read_declared_size(body, kind)
    if size:
        _check_size(*size, max_pixels)
    if kind == "png":
        body, exif_data = png_chunks.remove_metadata(body)
        return _PillowFile(body, kind, size, exif.read_orientation(exif_data))
    if kind == "jpeg":
        return _PillowFile(jpeg_segments.remove_metadata(body), kind, size, jpeg_decoding.read_jpeg_orientation(body))
    return _PillowFile(body, kind, size)


def _open_with_pillow(file: _PillowFile, max_pixels: int) -> tuple[Image.Image, int]:
    """Return the image, whose pixels are not decoded yet, and its EXIF orientation."""
    try:
        image = _PILLOW_READERS[file.kind](io.BytesIO(file.body))
    except Exception as error:
        raise _make_damaged_error(error) from error
    _check_size(image.height, image.width, max_pixels)
    if file.kind == "webp":
        return image, exif.read_orientation(image.info.get("exif", b""))
    return image, file.orientation


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


def _is_grey(image: Image.Image, kind: str) -> bool:
    """Return whether an image is grey. A GIF, BMP or TIFF with a palette is grey if all colors of the palette are."""
    if image.mode != "P" or kind not in SIMPLIFIERS or image.palette is None:
        return image.mode in _GREY_MODES
    # `Image.getpalette` is not used: it decodes the pixels.
    values = np.frombuffer(bytes(image.palette.palette), np.uint8)
    size = 4 if image.palette.rawmode == "BGRX" else 3
    num_colors = len(values) // size
    values = values[: num_colors * size]
    is_planar = image.palette.rawmode == "RGB;L"
    colors = values.reshape(3, num_colors).T if is_planar else values.reshape(num_colors, size)[:, :3]
    return bool((colors == colors[:, :1]).all())


def _make_damaged_error(error: Exception) -> InvalidImage:
    return InvalidImage(f"The image is damaged: {error}", code="image_invalid")
