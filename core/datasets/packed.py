"""A dataset decoded once: memory-mapped samples (pictures, rows or windows), their targets, and what is true of all."""

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from core.datasets.tables.columns import Table
from core.errors import CorruptFile

Task = Literal["classification", "binary", "multilabel", "regression"]
Images = NDArray[np.uint8]
Samples = NDArray[Any]
Targets = NDArray[np.int64] | NDArray[np.float32]
Weights = NDArray[np.float32]

FORMAT_VERSION = 1
SPLITS = ("train", "valid", "test")
META_FILE = "meta.json"
WEIGHTS_SUFFIX = "weights.npy"


class PackedMeta(BaseModel):
    """`meta.json`. Fields unknown to this version are ignored, so that a later one may add some.

    `image_shape` is that of a sample: (C, H, W) of a picture; of a `table` (F,) of a row or (T, F) of a window.
    `splits` maps a split's name to its number of samples: "train" always, "valid" and "test" where there
    are any. `mean` and `std` are those of train, of pixels in 0..1, one a channel; the deviation of a
    channel that never varies is 1. Those of a table are one a column, 0 and 1 where it holds categories; those of a
    regression's targets, one an output, are beside them. `weighted`: every sample of every split has a weight.
    `content_hash` depends on samples, targets, weights, classes, columns and task alone: equal content, equal hash.
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
    content_hash: str
    table: Table | None = None
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()
    weighted: bool = False


class PackedSplit(NamedTuple):
    """One split, read-only and mapped, not loaded: uint8 pictures (N, H, W, C), else float32 (N, F) or (N, T, F).

    Windows are views of the series that they come from: they overlap, and take no room of their own. Targets are int64
    (N,) for classification, else float32 (N, num_outputs). Weights are float32 (N,), finite and not negative; None
    where all samples count the same.
    """

    images: Samples
    targets: Targets
    names: list[str]
    weights: Weights | None = None


class PackedDataset:
    """A packed folder, open for reading."""

    def __init__(self, folder: Path, meta: PackedMeta) -> None:
        self._folder = folder
        self.meta = meta

    @classmethod
    def open(cls, folder: Path) -> "PackedDataset":
        """Raises `Corrupt` where the folder is not one of ours, or damaged."""
        try:
            return cls(folder, PackedMeta.model_validate_json((folder / META_FILE).read_bytes()))
        except (OSError, ValidationError) as error:
            raise CorruptFile(f"{folder.name} holds no packed dataset: {error}") from error

    def read_split(self, name: str) -> PackedSplit:
        """Raises `Corrupt` where the files disagree with `meta.json`, KeyError for a split that is not there."""
        count = self.meta.splits[name]
        try:
            images = self._load_samples(name, count)
            targets = np.load(self._folder / f"{name}_targets.npy", allow_pickle=False)
            names = json.loads((self._folder / f"{name}_names.json").read_bytes())
            weights = self._load_weights(name)
        except (OSError, ValueError) as error:
            raise CorruptFile(f"The split {name!r} cannot be read: {error}") from error
        if images.shape != (count, *_get_array_shape(self.meta)) or len(targets) != count or len(names) != count:
            raise CorruptFile(
                f"The split {name!r} is not what meta.json says.", images=list(images.shape), expected=count
            )
        if weights is not None and (weights.shape != (count,) or weights.dtype != np.float32):
            raise CorruptFile(f"The weights of the split {name!r} are not what meta.json says.", expected=count)
        return PackedSplit(images, targets, names, weights)

    def _load_weights(self, name: str) -> Weights | None:
        return np.load(self._folder / f"{name}_{WEIGHTS_SUFFIX}", allow_pickle=False) if self.meta.weighted else None

    def _load_samples(self, name: str, count: int) -> Samples:
        path = self._folder / f"{name}_{'images' if self.meta.table is None else 'rows'}.npy"
        array: Samples = np.load(path, mmap_mode="r" if count else None, allow_pickle=False)
        window = None if self.meta.table is None else self.meta.table.window
        if window is None:
            return array
        return sliding_window_view(array, window, axis=0)[:count].swapaxes(1, 2)


def _get_array_shape(meta: PackedMeta) -> tuple[int, ...]:
    """Of a sample: the channels of a picture lie last."""
    return meta.image_shape if meta.table is not None else (*meta.image_shape[1:], meta.image_shape[0])


def list_file_names(splits: dict[str, int], *, weighted: bool = False) -> list[str]:
    """All files of a packed folder of pictures with these splits."""
    parts = ("images.npy", "targets.npy", "names.json", *([WEIGHTS_SUFFIX] if weighted else []))
    return [META_FILE, *(f"{split}_{part}" for split in splits for part in parts)]
