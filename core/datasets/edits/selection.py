"""The samples of an edit: which samples of the base version remain, with their new splits and classes."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from core.datasets.digests import Digests, compute_digests, find_blank_images
from core.datasets.edits.class_plan import LABELLED_TASKS
from core.datasets.packed import SPLITS, PackedDataset, PackedMeta, PackedSplit

Index = NDArray[np.int64]


@dataclass
class SampleSelection:
    """The samples of a base version in order, and how an edit changes them.

    Attributes:
        splits: the splits of the base version, memory-mapped, keyed by their name.
        names: the names of all samples.
        source_codes: int8 (N,), the split of each sample in the base version, as an index of `SPLITS`.
        positions: int64 (N,), the position of each sample in its split of the base version.
        split_codes: int8 (N,), the new split of each sample.
        classes: the new classes.
        labels: int64 (N,), the index of each sample's class in `classes`; -1 for samples of removed classes. None: the
            samples do not have one class each.
        source_labels: `labels` of the base version.
        is_retained: bool (N,), whether the sample remains.
    """

    meta: PackedMeta
    splits: dict[str, PackedSplit]
    names: list[str]
    source_codes: NDArray[np.int8]
    positions: Index
    split_codes: NDArray[np.int8]
    classes: list[str]
    labels: Index | None
    source_labels: Index | None
    is_retained: NDArray[np.bool_]
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, base: PackedDataset) -> "SampleSelection":
        """Select all samples of a packed dataset, which may be deleted afterwards: its files are open.

        Raises:
            CorruptFile: the files do not match `meta.json`.
        """
        splits = {name: base.read_split(name) for name in base.meta.splits}
        codes = [np.full(len(split.names), SPLITS.index(name), np.int8) for name, split in splits.items()]
        positions = [np.arange(len(split.names), dtype=np.int64) for split in splits.values()]
        names = [name for split in splits.values() for name in split.names]
        labels = None
        if base.meta.task in LABELLED_TASKS:
            labels = np.concatenate(
                [np.asarray(split.targets, np.int64).reshape(len(split.names)) for split in splits.values()]
            )
        return cls(
            meta=base.meta,
            splits=splits,
            names=names,
            source_codes=np.concatenate(codes),
            positions=np.concatenate(positions),
            split_codes=np.concatenate(codes),
            classes=list(base.meta.classes),
            labels=labels,
            source_labels=None if labels is None else labels.copy(),
            is_retained=np.ones(len(names), np.bool_),
        )

    @property
    def num_retained(self) -> int:
        """The number of samples that remain."""
        return int(self.is_retained.sum())

    @cached_property
    def digests(self) -> Digests:
        """The digest of each sample of the base version. Reads all samples at the first access."""
        return np.concatenate([compute_digests(split.images) for split in self.splits.values()])

    @cached_property
    def is_blank(self) -> NDArray[np.bool_]:
        """Whether each sample is an image of one color. Reads all samples at the first access."""
        return np.concatenate([find_blank_images(split.images) for split in self.splits.values()])

    def list_positions(self) -> Index:
        """Return the indices of the samples that remain, sorted."""
        return np.flatnonzero(self.is_retained)
