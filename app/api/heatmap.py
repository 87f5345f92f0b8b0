"""Heat laid over a picture, as a PNG."""

import cv2
import numpy as np
from numpy.typing import NDArray

SHORTEST_SIDE = 224
OPACITY = 0.7  # where it is hottest; places without heat show the picture as it is


def render_heatmap(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> bytes:
    """A PNG of the picture, uint8 (H, W, C), under its heat, (H, W), 0..1; small ones are shown larger."""
    height, width, channels = image.shape
    scale = max(1, round(SHORTEST_SIDE / min(height, width)))
    size = width * scale, height * scale
    colour = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_RGB2BGR)
    below = cv2.resize(colour, size, interpolation=cv2.INTER_NEAREST).astype(np.float32)
    spread = np.clip(cv2.resize(heat, size, interpolation=cv2.INTER_LINEAR), 0, 1)
    above = cv2.applyColorMap((255 * spread).astype(np.uint8), cv2.COLORMAP_INFERNO).astype(np.float32)
    opacity = (OPACITY * spread)[..., None]
    mixed = np.rint(below * (1 - opacity) + above * opacity).astype(np.uint8)
    _, png = cv2.imencode(".png", mixed)
    return bytes(png)
