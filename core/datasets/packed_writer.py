"""Writes packed image datasets in chunks, so that a dataset can be larger than memory."""

import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from core.datasets.packed import (
    GROUPS_SUFFIX,
    META_FILE,
    NEAR_GROUPS_SUFFIX,
    SPLITS,
    WEIGHTS_SUFFIX,
    Images,
    PackedMeta,
    Targets,
    Task,
    Weights,
)
from core.datasets.sample_groups import Groups
from core.durable_files import fsync_path, write_new_file
from core.resizing import STRETCH, ResizePolicy


class PackedWriter:
    """Writes a dataset into an empty folder. The dataset is complete after `finish_dataset` has written `meta.json`."""

    def __init__(
        self,
        folder: Path,
        *,
        task: Task,
        classes: Sequence[str],
        num_outputs: int,
        image_shape: tuple[int, ...],
        resize: ResizePolicy = STRETCH,
        weighted: bool = False,
        grouped: bool = False,
    ) -> None:
        """Open the writer. If `weighted`, every chunk must have weights; if `grouped`, every chunk must have groups."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._metadata: dict[str, Any] = {
            "task": task,
            "classes": list(classes),
            "num_outputs": num_outputs,
            "image_shape": list(image_shape),
        }
        self._resize, self._weighted, self._grouped = resize, weighted, grouped
        self._splits: dict[str, _SplitWriter] = {}
        self._digests: dict[str, dict[str, Any]] = {}

    def append_chunk(
        self,
        split: str,
        images_bhwc: Images,
        targets: Targets,
        names: Sequence[str],
        weights: Weights | None = None,
        groups: Groups | None = None,
    ) -> None:
        """Append images to a split. The splits can be written in any order.

        Args:
            split: "train", "valid" or "test".
            images_bhwc: uint8, (B, H, W, C).
            targets: int64 (B,) for classification, otherwise float32 (B, num_outputs).
            names: the names of the images, for reports and previews.
            weights: float32 (B,), required if the dataset is weighted.
            groups: int64 (B,), required if the dataset is grouped.

        Raises:
            ValueError: the arrays do not match the dataset or each other.
        """
        channels, height, width = self._metadata["image_shape"]
        if images_bhwc.dtype != np.uint8 or images_bhwc.shape[1:] != (height, width, channels):
            raise ValueError(
                f"images must be uint8 (B, {height}, {width}, {channels}), got {images_bhwc.dtype} {images_bhwc.shape}"
            )
        if not len(images_bhwc) == len(targets) == len(names):
            raise ValueError(
                f"images, targets and names must have equal lengths; got {len(images_bhwc)}, {len(targets)}, "
                f"{len(names)}"
            )
        if (weights is not None) is not self._weighted or (weights is not None and len(weights) != len(names)):
            raise ValueError(f"{len(names)} images must have {len(names) if self._weighted else 'no'} weights")
        if (groups is not None) is not self._grouped or (groups is not None and len(groups) != len(names)):
            raise ValueError(f"{len(names)} images must have {len(names) if self._grouped else 'no'} groups")
        if split not in self._splits:
            self._splits[split] = _SplitWriter(self._folder, split, (height, width, channels))
        self._splits[split].append_chunk(images_bhwc, self._cast_targets(targets), names, weights, groups)

    def _cast_targets(self, targets: Targets) -> Targets:
        if self._metadata["task"] == "classification":
            return np.ascontiguousarray(targets, np.int64)
        return np.ascontiguousarray(targets, np.float32).reshape(len(targets), self._metadata["num_outputs"])

    def finish_splits(self) -> dict[str, Images]:
        """Write the files of all splits durably. Return the images of each split, memory-mapped and read-only.

        Raises:
            ValueError: the training split is empty.
        """
        if "train" not in self._splits:
            raise ValueError("the split 'train' has no images")
        names = [name for name in SPLITS if name in self._splits]
        self._digests = {name: self._splits[name].finish_files() for name in names}
        return {name: np.load(self._folder / f"{name}_images.npy", mmap_mode="r") for name in names}

    def finish_dataset(self, near_groups: Mapping[str, Groups] | None = None) -> PackedMeta:
        """Write all files durably and return the metadata.

        Args:
            near_groups: the groups of equal and near-equal images of each split, int64 (N,). Default: no groups.

        Raises:
            ValueError: the training split is empty.
        """
        if not self._digests:
            self.finish_splits()
        for name, groups in (near_groups or {}).items():
            write_new_file(self._folder / f"{name}_{NEAR_GROUPS_SUFFIX}", encode_npy(groups.astype(np.int64)))
        splits = {name: self._splits[name] for name in self._digests}
        mean, std = splits["train"].compute_moments()
        meta = PackedMeta(
            **self._metadata,
            splits={name: split.count for name, split in splits.items()},
            mean=mean,
            std=std,
            **self._resize.to_dict(),
            weighted=self._weighted,
            grouped=self._grouped,
            near_grouped=bool(near_groups),
            content_hash=hash_json({**self._metadata, "splits": self._digests}),
        )
        write_new_file(self._folder / META_FILE, meta.model_dump_json(indent=2).encode())
        fsync_path(self._folder)
        return meta

    def close_files(self) -> None:
        """Close all files without finishing the dataset."""
        for split in self._splits.values():
            split.close_file()


class _SplitWriter:
    def __init__(self, folder: Path, split: str, shape_hwc: tuple[int, int, int]) -> None:
        self.count = 0
        self._folder, self._split, self._shape = folder, split, shape_hwc
        self._file: BinaryIO = (folder / f"{split}_images.npy").open("xb")
        self._header_size = self._write_header()
        self._digest = hashlib.sha256()
        self._targets: list[NDArray[Any]] = []
        self._weights: list[Weights] = []
        self._groups: list[Groups] = []
        self._names: list[str] = []
        self._histogram = np.zeros((shape_hwc[2], 256), np.int64)

    def _write_header(self) -> int:
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)
        return self._file.tell()

    def append_chunk(
        self,
        images_bhwc: Images,
        targets: Targets,
        names: Sequence[str],
        weights: Weights | None,
        groups: Groups | None,
    ) -> None:
        pixels = np.ascontiguousarray(images_bhwc)
        self._file.write(pixels.data)
        self._digest.update(pixels.data)
        self._count_values(pixels)
        self._targets.append(targets)
        if weights is not None:
            self._weights.append(weights)
        if groups is not None:
            self._groups.append(groups)
        self._names.extend(names)
        self.count += len(pixels)

    def _count_values(self, pixels: Images) -> None:
        height, width, channels = self._shape
        rows = max(1, 2**23 // (height * width))  # calcHist counts in float32, which is exact up to 2**24
        for start in range(0, len(pixels), rows):
            block = pixels[start : start + rows].reshape(-1, width, channels)
            for channel in range(channels):
                counts = cv2.calcHist([block], [channel], None, [256], [0, 256])
                self._histogram[channel] += counts.reshape(-1).astype(np.int64)

    def finish_files(self) -> dict[str, Any]:
        self._file.seek(0)
        if self._write_header() != self._header_size:  # cannot happen: NumPy reserves 21 digits for the count
            raise RuntimeError("the size of a .npy header changed")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close_file()
        targets = np.concatenate(self._targets)
        write_new_file(self._folder / f"{self._split}_targets.npy", encode_npy(targets))
        write_new_file(self._folder / f"{self._split}_names.json", json.dumps(self._names).encode())
        targets_sha256 = hashlib.sha256(targets.data).hexdigest()
        weights = write_weights(self._folder, self._split, np.concatenate(self._weights) if self._weights else None)
        groups = write_groups(self._folder, self._split, np.concatenate(self._groups) if self._groups else None)
        return {"count": self.count, "images": self._digest.hexdigest(), "targets": targets_sha256, **weights, **groups}

    def close_file(self) -> None:
        self._file.close()

    def compute_moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the mean and the standard deviation of each channel, for pixels scaled to 0..1."""
        num_pixels = self.count * self._shape[0] * self._shape[1]
        values = np.arange(256)
        mean = self._histogram @ values / num_pixels  # the sum is exact for any number of images
        std = np.sqrt(np.maximum(self._histogram @ values**2 / num_pixels - mean**2, 0.0))
        std[std < 1e-6] = 255.0
        return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


def write_weights(folder: Path, split: str, weights: Weights | None) -> dict[str, str]:
    """Write the weights of a split. Return {"weights": SHA-256}, or {} if there are no weights."""
    if weights is None:
        return {}
    stored = np.ascontiguousarray(weights, np.float32)
    write_new_file(folder / f"{split}_{WEIGHTS_SUFFIX}", encode_npy(stored))
    return {"weights": hashlib.sha256(stored.data).hexdigest()}


def write_groups(folder: Path, split: str, groups: Groups | None) -> dict[str, str]:
    """Write the groups of a split. Return {"groups": SHA-256}, or {} if there are no groups."""
    if groups is None:
        return {}
    stored = np.ascontiguousarray(groups, np.int64)
    write_new_file(folder / f"{split}_{GROUPS_SUFFIX}", encode_npy(stored))
    return {"groups": hashlib.sha256(stored.data).hexdigest()}


def encode_npy(array: NDArray[Any]) -> bytes:
    """Return the bytes of a `.npy` file that contains the array."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def hash_json(content: dict[str, Any]) -> str:
    """Return the SHA-256 of the content, encoded as JSON."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
