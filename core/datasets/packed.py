"""The packed form of a dataset: memory-mapped arrays of samples and targets, and their metadata."""

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from core.datasets.columns import Table
from core.datasets.sample_groups import Groups
from core.errors import CorruptFile
from core.resizing import BLACK, Color, ResizePolicy

Task = Literal["classification", "binary", "multilabel", "regression"]
Images = NDArray[np.uint8]
Samples = NDArray[Any]
Targets = NDArray[np.int64] | NDArray[np.float32]
Weights = NDArray[np.float32]

FORMAT_VERSION = 1
SPLITS = ("train", "valid", "test")
META_FILE = "meta.json"
WEIGHTS_SUFFIX = "weights.npy"
GROUPS_SUFFIX = "groups.npy"
NEAR_GROUPS_SUFFIX = "near_groups.npy"


class PackedMeta(BaseModel):
    """The contents of `meta.json`. Unknown fields are ignored, so that later versions can add fields.

    Attributes:
        image_shape: the shape of a sample: (C, H, W) for images, (F,) for rows, (T, F) for windows.
        splits: the number of samples of each split. "train" always exists, "valid" and "test" are optional.
        mean: for images, the mean of each channel over the training pixels, scaled to 0..1. For tables, the mean of
            each column over the training rows, or 0 for categorical columns.
        std: the standard deviations that belong to `mean`. 1 for constant channels, constant columns and categorical
            columns.
        target_mean: the mean of each output over the training targets. The tuple is empty for image datasets,
            and for tasks other than regression.
        target_std: the standard deviations that belong to `target_mean`.
        weighted: whether the samples have weights.
        resize: how the images were resized, or "none" for tables. `core.resizing.ResizePolicy` describes this and the
            next three fields.
        content_hash: a hash of the samples, targets, weights, classes, columns and task.
        grouped: whether the samples have groups, which random splits never divide.
        near_grouped: whether the images have groups of equal and near-equal images.
        content_hash: a hash of the samples, targets, weights, groups, classes, columns and task.
    """

    model_config = ConfigDict(frozen=True)

    format_version: Literal[1] = 1
    task: Task
    classes: tuple[str, ...]
    num_outputs: int
    image_shape: tuple[int, ...]
    splits: dict[str, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str
    resize_shorter_side: int | None = None
    pad_color: Color = BLACK
    interpolation: str = "area"
    content_hash: str
    table: Table | None = None
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()
    weighted: bool = False
    grouped: bool = False
    near_grouped: bool = False

    @property
    def resize_policy(self) -> ResizePolicy:
        """How the images were resized."""
        return ResizePolicy(self.resize, self.resize_shorter_side, self.pad_color, self.interpolation)


class PackedSplit(NamedTuple):
    """One split, memory-mapped and read-only.

    Attributes:
        images: uint8 images (N, H, W, C), or float32 rows (N, F) or windows (N, T, F). Windows are views of the series.
        targets: int64 (N,) for classification, otherwise float32 (N, num_outputs).
        weights: float32 (N,), finite and at least 0. None if the dataset has no weights.
        groups: int64 (N,), the number of the group of each sample. Samples of one group belong to the same subject,
            such as a patient. None if the dataset has no groups.
        near_groups: int64 (N,), equal for images that are equal or near-equal. None if the dataset has no such images.
    """

    images: Samples
    targets: Targets
    names: list[str]
    weights: Weights | None = None
    groups: Groups | None = None
    near_groups: Groups | None = None


class PackedDataset:
    """A packed dataset that is open for reading."""

    def __init__(self, folder: Path, meta: PackedMeta) -> None:
        self._folder = folder
        self.meta = meta

    @classmethod
    def open(cls, folder: Path) -> "PackedDataset":
        """Return the dataset in a folder.

        Raises:
            CorruptFile: the folder has no packed dataset, or its metadata is damaged.
        """
        try:
            return cls(folder, PackedMeta.model_validate_json((folder / META_FILE).read_bytes()))
        except (OSError, ValidationError) as error:
            raise CorruptFile(f"{folder.name} is not a packed dataset: {error}") from error

    def read_split(self, name: str) -> PackedSplit:
        """Return a split. Its samples are memory-mapped, so that they are read from disk only when they are used.

        Raises:
            CorruptFile: the files do not match `meta.json`.
            KeyError: the dataset has no split of this name.
        """
        count = self.meta.splits[name]
        try:
            images = self._load_samples(name, count)
            targets = np.load(self._folder / f"{name}_targets.npy", allow_pickle=False)
            names = json.loads((self._folder / f"{name}_names.json").read_bytes())
            weights = self._load_array(name, WEIGHTS_SUFFIX, is_stored=self.meta.weighted)
            groups = self._load_array(name, GROUPS_SUFFIX, is_stored=self.meta.grouped)
            near_groups = self._load_array(name, NEAR_GROUPS_SUFFIX, is_stored=self.meta.near_grouped)
        except (OSError, ValueError) as error:
            raise CorruptFile(f"The split {name!r} cannot be read: {error}") from error
        if images.shape != (count, *_get_array_shape(self.meta)) or len(targets) != count or len(names) != count:
            raise CorruptFile(
                f"The files of the split {name!r} do not match meta.json.", images=list(images.shape), expected=count
            )
        if weights is not None and (weights.shape != (count,) or weights.dtype != np.float32):
            raise CorruptFile(f"The weights of the split {name!r} do not match meta.json.", expected=count)
        for each in (groups, near_groups):
            if each is not None and (each.shape != (count,) or each.dtype != np.int64):
                raise CorruptFile(f"The groups of the split {name!r} do not match meta.json.", expected=count)
        return PackedSplit(images, targets, names, weights, groups, near_groups)

    def read_series(self, name: str) -> Samples:
        """Return the rows of a split of a time series, float32 (L, F), memory-mapped. Windows are views of these rows.

        Raises:
            CorruptFile: the file is missing or damaged.
        """
        try:
            series: Samples = np.load(self._folder / f"{name}_rows.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CorruptFile(f"The split {name!r} cannot be read: {error}") from error
        return series

    def _load_array(self, name: str, suffix: str, *, is_stored: bool) -> NDArray[Any] | None:
        return np.load(self._folder / f"{name}_{suffix}", allow_pickle=False) if is_stored else None

    def _load_samples(self, name: str, count: int) -> Samples:
        path = self._folder / f"{name}_{'images' if self.meta.table is None else 'rows'}.npy"
        array: Samples = np.load(path, mmap_mode="r" if count else None, allow_pickle=False)
        window = None if self.meta.table is None else self.meta.table.window
        if window is None:
            return array
        return sliding_window_view(array, window, axis=0)[:count].swapaxes(1, 2)


def _get_array_shape(meta: PackedMeta) -> tuple[int, ...]:
    """Return the shape of a stored sample. Images are stored with the channels last."""
    return meta.image_shape if meta.table is not None else (*meta.image_shape[1:], meta.image_shape[0])


def list_file_names(meta: PackedMeta) -> list[str]:
    """Return the names of all files of a packed image dataset."""
    parts = ("images.npy", "targets.npy", "names.json", *_list_optional_parts(meta))
    return [META_FILE, *(f"{split}_{part}" for split in meta.splits for part in parts)]


def list_split_files(meta: PackedMeta, split: str) -> list[str]:
    """Return the names of the files that `PackedDataset.open` and `read_split` read for one split."""
    parts = ("images.npy" if meta.table is None else "rows.npy", "targets.npy", "names.json")
    return [META_FILE, *(f"{split}_{part}" for part in (*parts, *_list_optional_parts(meta)))]


def _list_optional_parts(meta: PackedMeta) -> list[str]:
    optional = {
        WEIGHTS_SUFFIX: meta.weighted,
        GROUPS_SUFFIX: meta.grouped,
        NEAR_GROUPS_SUFFIX: meta.near_grouped,
    }
    return [suffix for suffix, is_stored in optional.items() if is_stored]
