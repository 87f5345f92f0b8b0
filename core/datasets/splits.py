"""Which pictures train, which validate, which are only looked at in the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.datasets.packed import PackedDataset, PackedMeta, Samples, Targets, Weights
from core.spec import DatasetSpec

DEFAULT_SHARE = 0.1
_STREAM = 0x5B117  # keeps this generator's numbers apart from others of the same seed
_TEST_STREAM = _STREAM + 1

_COUNT_NAMES = ("none", "one", "two")

Index = NDArray[np.int64]


class SplitPlan(NamedTuple):
    """Sizes alone. `held_out`: validation is taken from train, not a split of the dataset's own; and so is the test."""

    num_train: int
    num_valid: int
    num_test: int
    is_valid_from_train: bool
    is_test_from_train: bool = False


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


def plan_splits(splits: Mapping[str, int], valid: float | None, test: float | None = None) -> SplitPlan:
    """Return the sizes that `resolve` will give.

    With a share, that much of train is held out. Without one the dataset's own "valid" is used, or 0.1 of
    train where it has none; its own "test", or none. (Sizes differ by a few where the share is so large that a class
    would be left without a picture to train on: `resolve` keeps one.)

    Raises:
        ValueError: train has too few pictures to be divided, or there is a test split already.
    """
    num_train, num_test = splits["train"], splits.get("test", 0)
    if test is not None and num_test:
        raise ValueError(f"the dataset has a test split of its own, of {num_test} samples")
    has_valid_split = valid is None and bool(splits.get("valid"))
    share = 0.0 if has_valid_split else valid or DEFAULT_SHARE
    if share + (test or 0.0) >= 1:
        raise ValueError(f"valid and test, {share:g} and {test:g}, leave nothing to train on")
    num_holdouts = (not has_valid_split) + (test is not None)
    if num_train < 1 + num_holdouts:
        raise ValueError(
            f"at least {1 + num_holdouts} training pictures are needed to hold {_COUNT_NAMES[num_holdouts]} out"
        )
    if test is not None:
        num_test = min(max(round(num_train * test), 1), num_train - num_holdouts)
    num_remaining = num_train - (num_test if test is not None else 0)
    num_valid = splits["valid"] if has_valid_split else min(max(round(num_train * share), 1), num_remaining - 1)
    return SplitPlan(
        num_remaining if has_valid_split else num_remaining - num_valid,
        num_valid,
        num_test,
        not has_valid_split,
        test is not None,
    )


def resolve_splits(packed: PackedDataset, spec: DatasetSpec, seed: int) -> ResolvedSplits:
    """Divide a packed dataset as the spec says; the same seed gives the same division on every machine.

    Raises:
        ValueError: a share is asked of windows, which overlap: they were divided in time.
    """
    if (spec.valid or spec.test) is not None and packed.meta.table is not None and packed.meta.table.window is not None:
        raise ValueError("windows of a series are divided in time when they are imported, not by chance")
    sizes = plan_splits(packed.meta.splits, spec.valid, spec.test)
    test = _read_whole_split(packed, "test") if packed.meta.splits.get("test") else None
    train = packed.read_split("train")
    train_index = np.arange(len(train.targets), dtype=np.int64)
    labels = _get_strata(packed.meta, train.targets) if spec.stratify else None
    if sizes.is_test_from_train:
        test_index, train_index = _divide_index(train_index, sizes.num_test, labels, seed, _TEST_STREAM)
        test = SplitView(train.images, train.targets, test_index, train.weights)
    if not sizes.is_valid_from_train:
        return ResolvedSplits(train_index, _read_whole_split(packed, "valid"), test)
    valid_index, train_index = _divide_index(train_index, sizes.num_valid, labels, seed, _STREAM)
    return ResolvedSplits(train_index, SplitView(train.images, train.targets, valid_index, train.weights), test)


def _divide_index(index: Index, num_holdout: int, labels: Index | None, seed: int, stream: int) -> tuple[Index, Index]:
    """Those of the samples that are held out, and those that are kept, both rising."""
    strata = None if labels is None else labels[index]
    holdout = select_holdout(len(index), num_holdout, strata, seed, stream)
    return index[holdout], np.delete(index, holdout)


def select_holdout(num_samples: int, num_holdout: int, labels: Index | None, seed: int, stream: int = _STREAM) -> Index:
    """Return the rising indices of the samples to hold out.

    With `labels` (N,), every class gives the same share (largest remainders make up the total), and every
    class keeps one sample at least, even if fewer than `num_held` are then held out. Where every class has
    a single sample, labels are of no use and chance decides.
    """
    rng = np.random.default_rng([seed, stream])
    order = rng.permutation(num_samples)
    if labels is None or len(np.unique(labels)) == num_samples:
        return np.sort(order[:num_holdout]).astype(np.int64)
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    quotas = _allocate_quotas(counts, num_holdout)
    grouped = order[np.argsort(classes[order], kind="stable")]  # by class, at random within one
    starts = np.cumsum(counts) - counts
    rank = np.arange(num_samples) - np.repeat(starts, counts)
    return np.sort(grouped[rank < np.repeat(quotas, counts)]).astype(np.int64)


def _allocate_quotas(counts: NDArray[np.intp], total: int) -> Index:
    """Divide `total` over classes in proportion to their counts, at most count - 1 each."""
    limits = counts - 1
    exact = counts * (total / counts.sum())
    quotas: Index = np.minimum(np.floor(exact).astype(np.int64), limits)
    while (missing := min(total, int(limits.sum())) - int(quotas.sum())) > 0:
        open_classes = np.flatnonzero(quotas < limits)
        by_remainder = open_classes[np.argsort(-(exact - quotas)[open_classes], kind="stable")]
        quotas[by_remainder[:missing]] += 1
    return quotas


def _get_strata(meta: PackedMeta, targets: Targets) -> Index | None:
    """What to stratify by: the class; a sample of a regression or with several labels has none."""
    match meta.task:
        case "classification":
            return np.asarray(targets, np.int64)
        case "binary":
            return np.asarray(targets[:, 0], np.int64)
        case "multilabel" | "regression":
            return None


def _read_whole_split(packed: PackedDataset, name: str) -> SplitView:
    split = packed.read_split(name)
    return SplitView(split.images, split.targets, np.arange(len(split.targets), dtype=np.int64), split.weights)
