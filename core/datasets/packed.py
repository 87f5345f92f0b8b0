"""A dataset decoded once: memory-mapped uint8 pictures, their targets, and what is true of them all."""

import json
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import Corrupt

Task = Literal["classification", "binary", "multilabel", "regression"]
Images = NDArray[np.uint8]
Targets = NDArray[np.int64] | NDArray[np.float32]

FORMAT_VERSION = 1
SPLITS = ("train", "valid", "test")
META = "meta.json"


class PackedMeta(BaseModel):
    """`meta.json`. Fields unknown to this version are ignored, so that a later one may add some.

    `splits` maps a split's name to its number of pictures: "train" always, "valid" and "test" where there
    are any. `mean` and `std` are those of train, of pixels in 0..1, one a channel; the deviation of a
    channel that never varies is 1. `content_hash` depends on pictures, targets, classes and task alone:
    equal content, equal hash.
    """

    model_config = ConfigDict(frozen=True)

    format_version: Literal[1] = 1
    task: Task
    classes: tuple[str, ...]
    num_outputs: int
    image_shape: tuple[int, int, int]  # (C, H, W)
    splits: dict[str, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str
    content_hash: str


class PackedSplit(NamedTuple):
    """One split: uint8 images (N, H, W, C), read-only and mapped, not loaded.

    Targets are int64 (N,) for classification, else float32 (N, num_outputs).
    """

    images: Images
    targets: Targets
    names: list[str]


class Packed:
    """A packed folder, open for reading."""

    def __init__(self, folder: Path, meta: PackedMeta) -> None:
        self._folder = folder
        self.meta = meta

    @classmethod
    def open(cls, folder: Path) -> "Packed":
        """Raises `Corrupt` where the folder is not one of ours, or damaged."""
        try:
            return cls(folder, PackedMeta.model_validate_json((folder / META).read_bytes()))
        except (OSError, ValidationError) as error:
            raise Corrupt(f"{folder.name} holds no packed dataset: {error}") from error

    def split(self, name: str) -> PackedSplit:
        """Raises `Corrupt` where the files disagree with `meta.json`, KeyError for a split that is not there."""
        count = self.meta.splits[name]
        channels, height, width = self.meta.image_shape
        try:
            images = np.load(self._folder / f"{name}_images.npy", mmap_mode="r" if count else None, allow_pickle=False)
            targets = np.load(self._folder / f"{name}_targets.npy", allow_pickle=False)
            names = json.loads((self._folder / f"{name}_names.json").read_bytes())
        except (OSError, ValueError) as error:
            raise Corrupt(f"The split {name!r} cannot be read: {error}") from error
        if images.shape != (count, height, width, channels) or len(targets) != count or len(names) != count:
            raise Corrupt(f"The split {name!r} is not what meta.json says.", images=list(images.shape), expected=count)
        return PackedSplit(images, targets, names)


def file_names(splits: dict[str, int]) -> list[str]:
    """All files of a packed folder with these splits."""
    parts = ("images.npy", "targets.npy", "names.json")
    return [META, *(f"{split}_{part}" for split in splits for part in parts)]
