"""Resizes decoded images to the input size of a network, in the same way for imports and predictions.

- `stretch` ignores the aspect ratio.
- `crop` scales the image until it covers the target size, and crops the center. With a shorter side, it scales the
  shorter side of the image to that number of pixels first, as the evaluation of published networks does.
- `pad` scales the image until it fits into the target size, and fills the rest with a color.

The interpolation `area` averages pixels if the height or the width decreases, and is bilinear otherwise. `bilinear` and
`bicubic` are those of Pillow, which also average pixels when an image shrinks. torchvision uses them for image files.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Self

import cv2
import numpy as np
from PIL import Image

from core.pixel_conversion import Pixels

ResizeMode = Literal["stretch", "crop", "pad"]
Interpolation = Literal["area", "bilinear", "bicubic"]
Color = tuple[int, int, int]
Size = tuple[int, int]
"""The height and the width of an image, in pixels."""
Box = tuple[float, float, float, float]
"""The left, top, right and bottom edges of a part of an image, in pixels."""

MAX_IMAGE_SIDE = 4096  # pixels of each side after resizing
BLACK: Color = (0, 0, 0)
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_LUMA = (19595, 38470, 7471)  # ITU-R BT.601, in units of 1 / 65536, as in Pillow
_MAX_INTERMEDIATE_PIXELS = 2**23


class ResizePolicy(NamedTuple):
    """How images of any size are converted to one size.

    Attributes:
        mode: a `ResizeMode`, or "none" for tables.
        shorter_side: with `crop`, the number of pixels to which the shorter side is scaled before the center is
            cropped. It is at least the longer side of the target. None: as small as the target allows.
        pad_color: with `pad`, the color of the added pixels, red, green and blue from 0 to 255.
        interpolation: an `Interpolation`.
    """

    mode: str = "stretch"
    shorter_side: int | None = None
    pad_color: Color = BLACK
    interpolation: str = "area"

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Return the policy in the metadata of a dataset or bundle. Fields that old files lack have their defaults."""
        return cls(
            stored["resize"],
            stored.get("resize_shorter_side"),
            tuple(stored.get("pad_color") or BLACK),
            stored.get("interpolation") or "area",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that the metadata of datasets and bundles contain."""
        return {
            "resize": self.mode,
            "resize_shorter_side": self.shorter_side,
            "pad_color": self.pad_color,
            "interpolation": self.interpolation,
        }

    def format_options(self, size: Size) -> str:
        """Return the import options of this policy and of the size, for example `image_size=224, resize=stretch`."""
        height, width = size
        options = [f"image_size={height}" if height == width else f"image_size={height}x{width}", f"resize={self.mode}"]
        if self.shorter_side is not None:
            options.append(f"resize_shorter_side={self.shorter_side}")
        if self.mode == "pad":
            options.append("pad_color=#{:02x}{:02x}{:02x}".format(*self.pad_color))
        return ", ".join([*options, f"interpolation={self.interpolation}"])


STRETCH = ResizePolicy()


def resize_pixels(pixels: Pixels, height: int, width: int, policy: ResizePolicy = STRETCH) -> Pixels:
    """Return the pixels in another size.

    Args:
        pixels: uint8, (H, W), (H, W, 1) or (H, W, 3).
        height: the height after resizing.
        width: the width after resizing.
        policy: how the image is resized.

    Raises:
        ValueError: the mode of the policy is unknown.
    """
    target = height, width
    if pixels.shape[:2] == target and policy.shorter_side is None:
        return pixels
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    match policy.mode:
        case "stretch":
            return _scale_pixels(pixels, target, policy.interpolation)
        case "crop" if policy.shorter_side is None:
            return _scale_pixels(_crop_center(pixels, height / width), target, policy.interpolation)
        case "crop":
            return _scale_pixels(pixels, target, policy.interpolation, _find_crop_box(pixels, target, policy))
        case "pad":
            return _pad_pixels(pixels, target, policy)
        case mode:
            raise ValueError(f"resize must be stretch, crop or pad, got {mode!r}")


def compute_scaled_size(size: Size, target: Size, policy: ResizePolicy) -> Size:
    """Return the size to which an image is scaled before it is cropped or padded to the target size.

    For `crop` without a shorter side, the result is the target size: the scaled image covers it.
    """
    height, width = size
    if policy.mode == "pad":
        scale = min(target[0] / height, target[1] / width)
        return max(1, min(target[0], round(height * scale))), max(1, min(target[1], round(width * scale)))
    if policy.mode == "crop" and policy.shorter_side is not None:
        side = policy.shorter_side
        return (side, side * width // height) if height <= width else (side * height // width, side)
    return target


def _crop_center(pixels: Pixels, proportion: float) -> Pixels:
    """Return the largest centered crop with the given ratio of height to width."""
    height, width = pixels.shape[:2]
    new_height = min(height, max(1, round(width * proportion)))
    new_width = min(width, max(1, round(height / proportion)))
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return pixels[top : top + new_height, left : left + new_width]


def _find_crop_box(pixels: Pixels, target: Size, policy: ResizePolicy) -> Box:
    """Return the part of the image that becomes the target, so that the rest is never scaled.

    Source: `torchvision.transforms.functional.resize` and `center_crop`, whose rounding it has.
    """
    height, width = pixels.shape[:2]
    scaled_height, scaled_width = compute_scaled_size((height, width), target, policy)
    top, left = round((scaled_height - target[0]) / 2), round((scaled_width - target[1]) / 2)
    rows, columns = height / scaled_height, width / scaled_width
    right, bottom = min(width, (left + target[1]) * columns), min(height, (top + target[0]) * rows)
    return left * columns, top * rows, right, bottom


def _pad_pixels(pixels: Pixels, target: Size, policy: ResizePolicy) -> Pixels:
    height, width = compute_scaled_size((pixels.shape[0], pixels.shape[1]), target, policy)
    padded = np.empty((*target, *pixels.shape[2:]), np.uint8)
    padded[:] = policy.pad_color if pixels.ndim == 3 else compute_luma(policy.pad_color)
    top, left = (target[0] - height) // 2, (target[1] - width) // 2
    padded[top : top + height, left : left + width] = _scale_pixels(pixels, (height, width), policy.interpolation)
    return padded


def compute_luma(color: Color) -> int:
    """Return the grey value of a color, as Pillow computes it."""
    return (sum(weight * value for weight, value in zip(_LUMA, color, strict=True)) + 0x8000) >> 16


def _scale_pixels(pixels: Pixels, target: Size, interpolation: str, box: Box | None = None) -> Pixels:
    """Return the part of the image in `box` in the target size. Default: the whole image."""
    height, width = pixels.shape[:2]
    if box is None and (height, width) == target:
        return pixels
    shrinks = height > target[0] or width > target[1]
    if interpolation == "area" and box is None:
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        scaled = cv2.resize(np.ascontiguousarray(pixels), target[::-1], interpolation=method)
        return np.asarray(scaled, np.uint8)
    left, top, right, bottom = box or (0.0, 0.0, float(width), float(height))
    if interpolation == "area":
        shrinks = bottom - top > target[0] or right - left > target[1]
        resampling = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    else:
        resampling = _FILTERS[interpolation]
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if (bottom - top) * target[1] > _MAX_INTERMEDIATE_PIXELS:
        # Pillow changes the width first. An image that is very high and narrow would need gigabytes after that.
        image = image.resize((width, target[0]), resampling, (0.0, top, float(width), bottom))
        top, bottom = 0.0, float(target[0])
    return np.asarray(image.resize(target[::-1], resampling, (left, top, right, bottom)))
