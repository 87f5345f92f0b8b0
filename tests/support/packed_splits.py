"""Packed images with splits, of which a test chooses the names, labels and pixels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.datasets.packed import PackedDataset
from core.datasets.packed_writer import PackedWriter

Sample = tuple[str, int, int]
"""The name, the label and the seed of the pixels; the seed -1 is a blank image."""


def build_pixels(seed: int, shape: tuple[int, ...] = (4, 5, 3)) -> Any:
    """Return noise, uint8 (H, W, C), or a blank image for -1."""
    if seed < 0:
        return np.full(shape, 7, np.uint8)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def write_splits(
    folder: Path, splits: Mapping[str, Sequence[Sample]], classes: Sequence[str] = "abc", **changes: Any
) -> PackedDataset:
    """Write a dataset of small images. `changes` are options of the writer; `weights` are equal for all samples."""
    weight, task = changes.pop("weight", None), changes.get("task", "classification")
    options: dict[str, Any] = {"task": task, "num_outputs": 1 if task == "binary" else len(classes)}
    shape = changes.pop("shape", (4, 5, 3))
    options |= {"image_shape": (shape[2], *shape[:2]), "weighted": weight is not None, **changes}
    writer = PackedWriter(folder, classes=list(classes), **options)
    for split, samples in splits.items():
        images = np.stack([build_pixels(seed, shape) for _, _, seed in samples])
        targets: Any = np.asarray([label for _, label, _ in samples])
        if task in ("multilabel", "regression"):
            targets = np.repeat(targets[:, np.newaxis], len(classes), axis=1).astype(np.float32)
        weights = None if weight is None else np.asarray([weight * (n + 1) for n in range(len(samples))], np.float32)
        writer.append_chunk(split, images, targets, [name for name, _, _ in samples], weights)
    writer.finish_dataset()
    return PackedDataset.open(folder)
