"""Changes brightness, contrast, saturation and hue of pictures, by one linear map of colours each."""

import numpy as np

from worker.engine.transforms.draws import Draws, Images

GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
TO_YIQ = np.array([GREY, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], dtype=np.float32)
FROM_YIQ = np.linalg.inv(TO_YIQ)


class ColorJitter:
    """In this order: brightness, contrast (about the picture's mean grey), saturation, hue.

    Hue is a turn of the colours about the grey axis (of YIQ), where torchvision goes by HSV; a grey picture has
    neither saturation nor hue.
    """

    num_draws = 4

    def __init__(
        self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
    ) -> None:
        """Factors are 1 - x to 1 + x; `hue` is a share of a whole turn, either way, at most 0.5."""
        self._spreads = np.array([brightness, contrast, saturation, hue], dtype=np.float32)

    def __call__(self, images: Images, draws: Draws) -> Images:
        spread = self._spreads * (2 * draws - 1)
        brightness, contrast = 1 + spread[:, 0], 1 + spread[:, 1]
        colours = images.astype(np.float32)
        is_coloured = images.shape[3] == len(GREY)
        grey = (colours @ GREY if is_coloured else colours.mean(axis=3)).mean(axis=(1, 2))
        if is_coloured and self._spreads[2:].any():
            maps = _colour_maps(1 + spread[:, 2], 2 * np.pi * spread[:, 3])
            colours = np.einsum("bhwc,bdc->bhwd", colours, maps)
        scale, shift = brightness * contrast, (1 - contrast) * brightness * grey
        changed = colours * scale[:, None, None, None] + shift[:, None, None, None]
        bytes_again: Images = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
        return bytes_again


def _colour_maps(saturation: Draws, angle: Draws) -> Draws:
    """One matrix a picture, (B, 3, 3), from RGB to RGB; what is grey stays so."""
    chroma = np.zeros((len(saturation), 3, 3), dtype=np.float32)
    cos, sin = saturation * np.cos(angle), saturation * np.sin(angle)
    chroma[:, 0, 0] = 1
    chroma[:, 1, 1] = chroma[:, 2, 2] = cos
    chroma[:, 1, 2], chroma[:, 2, 1] = -sin, sin
    return (FROM_YIQ @ chroma @ TO_YIQ).astype(np.float32)
