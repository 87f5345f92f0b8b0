"""Converts decoded pixels: channels and EXIF orientation. `core.images` states the rules."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
SWAPPED_ORIENTATIONS = range(5, 9)  # the EXIF orientations that swap height and width
_STRIP_PIXELS = 2**20  # larger images are converted in strips, to need less memory


def convert_channels(image: Image.Image, channels: int) -> Pixels:
    """Return the pixels of an image as uint8 (H, W) if `channels` is 1, otherwise RGB as (H, W, 3)."""
    num_rows = max(1, _STRIP_PIXELS // image.width)
    if image.height <= num_rows:
        return _convert_strip(image, channels)
    pixels = np.empty((image.height, image.width, 3)[: 2 + (channels != 1)], np.uint8)
    for top in range(0, image.height, num_rows):
        bottom = min(top + num_rows, image.height)
        pixels[top:bottom] = _convert_strip(image.crop((0, top, image.width, bottom)), channels)
    return pixels


def _convert_strip(image: Image.Image, channels: int) -> Pixels:
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(np.clip(np.asarray(image, np.int64) >> 8, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("L" if channels == 1 else "RGB"))


def apply_orientation(pixels: Pixels, orientation: int) -> Pixels:
    """Rotate and flip the pixels according to the EXIF orientation. Source: EXIF 2.32, table 6, tag 274."""
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.swapaxes(0, 1)
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return np.rot90(pixels, 2).swapaxes(0, 1)
        case 8:
            return np.rot90(pixels, 1)
        case _:
            return pixels
