"""Draws a heatmap over an image, and encodes the result as a PNG."""

import cv2
import numpy as np
from numpy.typing import NDArray

SHORTEST_SIDE = 224
OPACITY = 0.7  # opacity of the overlay where the heatmap is 1; elsewhere it is proportional to the heatmap


def render_heatmap(image: NDArray[np.uint8], heatmap: NDArray[np.float32]) -> bytes:
    """Return a PNG of the image with the heatmap as an overlay. Small images are enlarged by an integer factor.

    Args:
        image: uint8 (H, W, C).
        heatmap: floats from 0 to 1, (H, W).
    """
    height, width, channels = image.shape
    scale = max(1, round(SHORTEST_SIDE / min(height, width)))
    size = width * scale, height * scale
    bgr = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_RGB2BGR)
    background = cv2.resize(bgr, size, interpolation=cv2.INTER_NEAREST).astype(np.float32)
    heat = np.clip(cv2.resize(heatmap, size, interpolation=cv2.INTER_LINEAR), 0, 1)
    overlay = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO).astype(np.float32)
    opacity = (OPACITY * heat)[..., None]
    blended = np.rint(background * (1 - opacity) + overlay * opacity).astype(np.uint8)
    _, png = cv2.imencode(".png", blended)
    return bytes(png)
