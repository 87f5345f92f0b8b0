"""scikit-learn's scanned digits as files: some to upload and train on, the rest to be predicted later."""

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

NUM_HELD_OUT = 200
SHADES = " ░▒▓█"


class DigitImage(NamedTuple):
    """One scanned digit: what it shows, and its picture as uint8, (8, 8), 255 is ink."""

    label: int
    pixels: np.ndarray

    def png(self) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(buffer, "PNG")
        return buffer.getvalue()

    def drawn(self) -> str:
        """The picture as eight lines of blocks."""
        levels = (self.pixels.astype(int) * (len(SHADES) - 1) + 127) // 255
        return "\n".join("".join(SHADES[level] * 2 for level in row) for row in levels)


def load_scans() -> tuple[list[DigitImage], list[DigitImage]]:
    """The scans to train on, and the last ones, kept apart; those come from the last writers of the set."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)  # (N, 8, 8), 0..16 in the source
    scans = [DigitImage(int(label), image) for label, image in zip(digits.target, pixels, strict=True)]
    return scans[:-NUM_HELD_OUT], scans[-NUM_HELD_OUT:]


def write_archive(scans: list[DigitImage], path: Path) -> Path:
    """A zip of class folders: `0/0000.png`, …"""
    with zipfile.ZipFile(path, "w") as archive:
        for number, scan in enumerate(scans):
            archive.writestr(f"{scan.label}/{number:04}.png", scan.png())
    return path
