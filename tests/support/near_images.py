"""Images with structure, and copies that are nearly equal to them."""

from collections.abc import Callable

import cv2
import numpy as np

from core.datasets.packed import Images


def build_images(count: int, side: int = 32, seed: int = 0, channels: int = 1) -> Images:
    """Return different smooth random images, uint8 (N, side, side, C), with values from 20 to 220."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        coarse = (rng.normal(size=(9, 9, 1)) + 0.2 * rng.normal(size=(9, 9, channels))).astype(np.float32)
        smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC).reshape(side, side, channels)
        low, high = smooth.min(), smooth.max()
        images.append(20 + 200 * (smooth - low) / (high - low))
    return np.asarray(np.rint(np.stack(images)), np.uint8)


def brighten(image: Images) -> Images:
    """Return a brighter copy with more contrast."""
    return np.asarray(np.clip(image * 1.05 + 4, 0, 255), np.uint8)


def darken(image: Images) -> Images:
    """Return a copy with three quarters of the contrast."""
    return (image * 0.75).astype(np.uint8)


def compress(image: Images) -> Images:
    """Return a copy that was compressed as JPEG with quality 75."""
    body = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    return np.asarray(cv2.imdecode(body, cv2.IMREAD_UNCHANGED), np.uint8).reshape(image.shape)


def rescale(image: Images) -> Images:
    """Return a copy that was scaled down to three quarters and up again."""
    small = cv2.resize(image, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (image.shape[1], image.shape[0])), np.uint8).reshape(image.shape)


COPIES: dict[str, Callable[[Images], Images]] = {
    "brighter": brighten,
    "darker": darken,
    "compressed": compress,
    "rescaled": rescale,
}
