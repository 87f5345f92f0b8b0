"""Which pictures train, which validate, which are only looked at in the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.datasets.packed import Packed, PackedMeta, Samples, Targets, Weights
from core.spec import DatasetSpec

DEFAULT_SHARE = 0.1
_STREAM = 0x5B117  # keeps this generator's numbers apart from others of the same seed

Index = NDArray[np.int64]


class SplitPlan(NamedTuple):
    """Sizes alone. `held_out`: validation is taken from train, not a split of the dataset's own."""

    num_train: int
    num_valid: int
    num_test: int
    held_out: bool


@dataclass(frozen=True)  # a tuple would already have an "index"
class SplitView:
    """Those pictures of a packed split that `index` names, in rising order: `images[index]`, `targets[index]`."""

    images: Samples
    targets: Targets
    index: Index
    weights: Weights | None = None


class ResolvedSplits(NamedTuple):
    """`train_index` points into the packed split "train"."""

    train_index: Index
    valid: SplitView
    test: SplitView | None


def plan(splits: Mapping[str, int], valid: float | None) -> SplitPlan:
    """Return the sizes that `resolve` will give.

    With a share, that much of train is held out. Without one the dataset's own "valid" is used, or 0.1 of
    train where it has none. (Sizes differ by a few where the share is so large that a class would be left
    without a picture to train on: `resolve` keeps one.)

    Raises:
        ValueError: train has a single picture, which cannot be divided.
    """
    num_train, num_test = splits["train"], splits.get("test", 0)
    if valid is None and splits.get("valid"):
        return SplitPlan(num_train, splits["valid"], num_test, held_out=False)
    if num_train < 2:
        raise ValueError("at least 2 training pictures are needed to hold one out")
    num_valid = min(max(round(num_train * (valid or DEFAULT_SHARE)), 1), num_train - 1)
    return SplitPlan(num_train - num_valid, num_valid, num_test, held_out=True)


def resolve(packed: Packed, spec: DatasetSpec, seed: int) -> ResolvedSplits:
    """Divide a packed dataset as the spec says; the same seed gives the same division on every machine.

    Raises:
        ValueError: a share is asked of windows, which overlap: they were divided in time.
    """
    if spec.valid is not None and packed.meta.table is not None and packed.meta.table.window is not None:
        raise ValueError("windows of a series are divided in time when they are imported, not by chance")
    sizes = plan(packed.meta.splits, spec.valid)
    test = _whole(packed, "test") if packed.meta.splits.get("test") else None
    if not sizes.held_out:
        return ResolvedSplits(np.arange(sizes.num_train, dtype=np.int64), _whole(packed, "valid"), test)
    train = packed.split("train")
    labels = _labels(packed.meta, train.targets) if spec.stratify else None
    held_out = hold_out(len(train.targets), sizes.num_valid, labels, seed)
    kept = np.setdiff1d(np.arange(len(train.targets), dtype=np.int64), held_out, assume_unique=True)
    return ResolvedSplits(kept, SplitView(train.images, train.targets, held_out, train.weights), test)


def hold_out(num_samples: int, num_held: int, labels: Index | None, seed: int) -> Index:
    """Return the rising indices of the samples to hold out.

    With `labels` (N,), every class gives the same share (largest remainders make up the total), and every
    class keeps one sample at least, even if fewer than `num_held` are then held out. Where every class has
    a single sample, labels are of no use and chance decides.
    """
    rng = np.random.default_rng([seed, _STREAM])
    order = rng.permutation(num_samples)
    if labels is None or len(np.unique(labels)) == num_samples:
        return np.sort(order[:num_held]).astype(np.int64)
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    quotas = _quotas(counts, num_held)
    grouped = order[np.argsort(classes[order], kind="stable")]  # by class, at random within one
    starts = np.cumsum(counts) - counts
    rank = np.arange(num_samples) - np.repeat(starts, counts)
    return np.sort(grouped[rank < np.repeat(quotas, counts)]).astype(np.int64)


def _quotas(counts: NDArray[np.intp], total: int) -> Index:
    """Divide `total` over classes in proportion to their counts, at most count - 1 each."""
    caps = counts - 1
    exact = counts * (total / counts.sum())
    quotas: Index = np.minimum(np.floor(exact).astype(np.int64), caps)
    while (missing := min(total, int(caps.sum())) - int(quotas.sum())) > 0:
        open_classes = np.flatnonzero(quotas < caps)
        by_remainder = open_classes[np.argsort(-(exact - quotas)[open_classes], kind="stable")]
        quotas[by_remainder[:missing]] += 1
    return quotas


def _labels(meta: PackedMeta, targets: Targets) -> Index | None:
    """What to stratify by: the class; a sample of a regression or with several labels has none."""
    match meta.task:
        case "classification":
            return np.asarray(targets, np.int64)
        case "binary":
            return np.asarray(targets[:, 0], np.int64)
        case "multilabel" | "regression":
            return None


def _whole(packed: Packed, name: str) -> SplitView:
    split = packed.split(name)
    return SplitView(split.images, split.targets, np.arange(len(split.targets), dtype=np.int64), split.weights)
