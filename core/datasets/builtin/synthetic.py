"""Random images from a seed: a smooth pattern for each class, plus noise."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from core.datasets.definition import BuiltinDataset, DatasetInfo, SampleChunk
from core.datasets.packed import Targets
from core.spec.base import Spec

_CHUNK = 1024
_MAX_BYTES = 8 * 2**30
_NOISE = 0.12  # standard deviation of the noise, for pixels in 0..1
_CONTRAST = 0.35
_BINARY_NAMES = ("negative", "positive")
Side = Annotated[int, Field(ge=1, le=4096)]


class SyntheticOptions(Spec):
    """Options of the dataset. `num_classes` is the number of classes, labels (multilabel) or values (regression)."""

    image_shape: Annotated[tuple[Annotated[int, Field(ge=1, le=16)], Side, Side], Field(strict=False)] = (3, 32, 32)
    num_classes: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None,
        description="The number of classes, labels or values. Default: 10, or 1 for regression. Always 2 for binary.",
    )
    num_samples: Annotated[int, Field(ge=2, le=10_000_000)] = 1000
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    task: Literal["classification", "regression", "binary", "multilabel"] = "classification"

    @model_validator(mode="before")
    @classmethod
    def _set_default_num_classes(cls, value: object) -> object:
        if isinstance(value, dict) and value.get("num_classes") is None:
            default = {"regression": 1, "binary": 2}.get(str(value.get("task")), 10)
            return {**value, "num_classes": default}
        return value

    @model_validator(mode="after")
    def _check_size(self) -> Self:
        if self.task == "classification" and self.num_targets < 2:
            raise ValueError("num_classes must be at least 2 for classification")
        if self.task == "binary" and self.num_targets != len(_BINARY_NAMES):
            raise ValueError("num_classes must be 2 for binary")
        if self.task == "classification" and self.num_targets > self.num_samples:
            raise ValueError(f"num_samples must be at least num_classes, {self.num_targets}")
        if self.num_samples * int(np.prod(self.image_shape)) > _MAX_BYTES:
            raise ValueError(f"num_samples images of image_shape must have at most {_MAX_BYTES} bytes in total")
        return self

    @property
    def num_targets(self) -> int:
        """The number of classes, labels (multilabel) or values (regression)."""
        return self.num_classes or 1


def _build_info(options: SyntheticOptions, _folder: Path | None) -> DatasetInfo:
    splits = {"train": options.num_samples}
    if options.task == "binary":
        return DatasetInfo("binary", _BINARY_NAMES, 1, options.image_shape, splits)
    stem = "value" if options.task == "regression" else "class"
    names = tuple(f"{stem}_{i}" for i in range(options.num_targets))
    return DatasetInfo(options.task, names, options.num_targets, options.image_shape, splits)


def _generate_chunks(_folder: Path, options: SyntheticOptions) -> Iterator[SampleChunk]:
    patterns_khwc = _generate_patterns(options)
    rows = max(1, min(_CHUNK, 2**26 // int(np.prod(options.image_shape))))
    for start in range(0, options.num_samples, rows):
        index = np.arange(start, min(start + rows, options.num_samples))
        rng = np.random.default_rng([options.seed, 1, start])
        targets, weights_nk = _generate_targets(options, index, rng)
        signal = np.tensordot(weights_nk, patterns_khwc, axes=1)
        pixels = 0.5 + _CONTRAST * signal + _NOISE * rng.standard_normal(signal.shape, np.float32)
        images = np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)
        yield SampleChunk("train", images, targets, [f"{i:07d}" for i in index])


def _generate_patterns(options: SyntheticOptions) -> NDArray[np.float32]:
    """Return float32 (K, H, W, C) in -1..1: a coarse random grid for each class, enlarged bilinearly."""
    channels, height, width = options.image_shape
    num_patterns = 1 if options.task == "binary" else options.num_targets
    rng = np.random.default_rng([options.seed, 0])
    coarse = rng.uniform(-1, 1, (num_patterns, channels, min(4, height), min(4, width))).astype(np.float32)
    planes = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for grid in coarse for plane in grid]
    patterns = np.asarray(planes, np.float32).reshape(num_patterns, channels, height, width)
    return np.ascontiguousarray(np.moveaxis(patterns, 1, -1))


def _generate_targets(
    options: SyntheticOptions, index: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Targets, NDArray[np.float32]]:
    """Return the targets, and the amplitude of each pattern in each image, float32 (B, K)."""
    count, shape = options.num_targets, (len(index), options.num_targets)
    match options.task:
        case "classification":
            classes = index % count
            return classes, np.eye(count, dtype=np.float32)[classes]
        case "binary":
            positive = (index % 2).astype(np.float32)[:, np.newaxis]
            return positive, positive * 2 - 1
        case "multilabel":
            labels = (rng.random(shape) < 1 / 3).astype(np.float32)
            return labels, (labels * 2 - 1) * np.float32(count**-0.5)
        case "regression":
            values = rng.uniform(-1, 1, shape).astype(np.float32)
            return values, values * np.float32(count**-0.5)


SYNTHETIC = BuiltinDataset(
    name="synthetic",
    summary="Random images from a seed, with any shape, number of images and task. Requires no download.",
    source="generated by Candela: a smooth random pattern for each class, with noise",
    licence="none needed",
    options=SyntheticOptions,
    build_info=_build_info,
    read_chunks=_generate_chunks,
)
