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
_TEST_STREAM = _STREAM + 1

_NUMBERS = ("none", "one", "two")

Index = NDArray[np.int64]


class SplitPlan(NamedTuple):
    """Sizes alone. `held_out`: validation is taken from train, not a split of the dataset's own; and so is the test."""

    num_train: int
    num_valid: int
    num_test: int
    held_out: bool
    test_held_out: bool = False


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


def plan(splits: Mapping[str, int], valid: float | None, test: float | None = None) -> SplitPlan:
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
    is_own = valid is None and bool(splits.get("valid"))
    share = 0.0 if is_own else valid or DEFAULT_SHARE
    if share + (test or 0.0) >= 1:
        raise ValueError(f"valid and test, {share:g} and {test:g}, leave nothing to train on")
    num_held = (not is_own) + (test is not None)
    if num_train < 1 + num_held:
        raise ValueError(f"at least {1 + num_held} training pictures are needed to hold {_NUMBERS[num_held]} out")
    if test is not None:
        num_test = min(max(round(num_train * test), 1), num_train - num_held)
    rest = num_train - (num_test if test is not None else 0)
    num_valid = splits["valid"] if is_own else min(max(round(num_train * share), 1), rest - 1)
    return SplitPlan(rest if is_own else rest - num_valid, num_valid, num_test, not is_own, test is not None)


def resolve(packed: Packed, spec: DatasetSpec, seed: int) -> ResolvedSplits:
    """Divide a packed dataset as the spec says; the same seed gives the same division on every machine.

    Raises:
        ValueError: a share is asked of windows, which overlap: they were divided in time.
    """
    if (spec.valid or spec.test) is not None and packed.meta.table is not None and packed.meta.table.window is not None:
        raise ValueError("windows of a series are divided in time when they are imported, not by chance")
    sizes = plan(packed.meta.splits, spec.valid, spec.test)
    test = _whole(packed, "test") if packed.meta.splits.get("test") else None
    train = packed.split("train")
    kept = np.arange(len(train.targets), dtype=np.int64)
    labels = _labels(packed.meta, train.targets) if spec.stratify else None
    if sizes.test_held_out:
        chosen, kept = _divided(kept, sizes.num_test, labels, seed, _TEST_STREAM)
        test = SplitView(train.images, train.targets, chosen, train.weights)
    if not sizes.held_out:
        return ResolvedSplits(kept, _whole(packed, "valid"), test)
    held_out, kept = _divided(kept, sizes.num_valid, labels, seed, _STREAM)
    return ResolvedSplits(kept, SplitView(train.images, train.targets, held_out, train.weights), test)


def _divided(index: Index, num_held: int, labels: Index | None, seed: int, stream: int) -> tuple[Index, Index]:
    """Those of the samples that are held out, and those that are kept, both rising."""
    own = None if labels is None else labels[index]
    chosen = hold_out(len(index), num_held, own, seed, stream)
    return index[chosen], np.delete(index, chosen)


def hold_out(num_samples: int, num_held: int, labels: Index | None, seed: int, stream: int = _STREAM) -> Index:
    """Return the rising indices of the samples to hold out.

    With `labels` (N,), every class gives the same share (largest remainders make up the total), and every
    class keeps one sample at least, even if fewer than `num_held` are then held out. Where every class has
    a single sample, labels are of no use and chance decides.
    """
    rng = np.random.default_rng([seed, stream])
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
