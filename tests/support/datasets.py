"""Small packed datasets for tests."""

from pathlib import Path
from typing import Any

import numpy as np

from core.datasets.packed import PackedMeta
from core.datasets.packed_writer import PackedWriter

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 4, 5, 3)).astype(np.uint8)


TARGETS = np.arange(10) % 3


def write_packed(folder: Path, *, chunk: int = 4, **changes: Any) -> PackedMeta:
    """Write the images in chunks and return the metadata."""
    options: dict[str, Any] = {"task": "classification", "classes": "abc", "num_outputs": 3, "image_shape": (3, 4, 5)}
    images, targets = changes.pop("images", IMAGES), changes.pop("targets", TARGETS)
    writer = PackedWriter(folder, **options | changes)
    for start in range(0, len(images), chunk):
        part = slice(start, start + chunk)
        names = [str(i) for i in range(start, min(start + chunk, len(images)))]
        writer.append_chunk("train", images[part], targets[part], names)
    return writer.finish_dataset()
