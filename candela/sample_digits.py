"""Provides the scanned digits of scikit-learn: images for training, and unseen images for predictions."""

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

NUM_UNSEEN = 200
SHADES = " ░▒▓█"


class DigitImage(NamedTuple):
    """One scanned digit: its label and its pixels, uint8 (8, 8), where 255 is ink."""

    label: int
    pixels: np.ndarray

    def encode_png(self) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(buffer, "PNG")
        return buffer.getvalue()

    def draw_blocks(self) -> str:
        """Return the image as eight lines of block characters."""
        levels = (self.pixels.astype(int) * (len(SHADES) - 1) + 127) // 255
        return "\n".join("".join(SHADES[level] * 2 for level in row) for row in levels)


def load_digit_images() -> tuple[list[DigitImage], list[DigitImage]]:
    """Return the training images and the unseen images. The unseen images are the last images of the dataset."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)  # (N, 8, 8); scikit-learn's values are 0..16
    scans = [DigitImage(int(label), image) for label, image in zip(digits.target, pixels, strict=True)]
    return scans[:-NUM_UNSEEN], scans[-NUM_UNSEEN:]


def write_archive(scans: list[DigitImage], path: Path) -> Path:
    """Write a zip with one folder per class, such as `0/0000.png`, and return the path of the zip."""
    with zipfile.ZipFile(path, "w") as archive:
        for number, scan in enumerate(scans):
            archive.writestr(f"{scan.label}/{number:04}.png", scan.encode_png())
    return path
