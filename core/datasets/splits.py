"""Divides a dataset into training, validation and test samples."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.datasets.group_holdout import select_group_holdout
from core.datasets.packed import PackedDataset, PackedMeta, PackedSplit, Samples, Targets, Weights
from core.datasets.sample_groups import Groups, merge_groups
from core.errors import InvalidSpec
from core.spec import DatasetSpec

DEFAULT_SHARE = 0.1
_STREAM = 0x5B117  # seeds a random stream, together with the seed of the job
_TEST_STREAM = _STREAM + 1

Index = NDArray[np.int64]


class SplitPlan(NamedTuple):
    """The sizes of the splits.

    Attributes:
        is_valid_from_train: whether the validation samples are taken from the training split.
        is_test_from_train: whether the test samples are taken from the training split.
    """

    num_train: int
    num_valid: int
    num_test: int
    is_valid_from_train: bool
    is_test_from_train: bool = False


@dataclass(frozen=True)  # not a NamedTuple: tuples already have a method `index`
class SplitView:
    """Selected samples of a packed split: `images[index]` and `targets[index]`. `index` is sorted."""

    images: Samples
    targets: Targets
    index: Index
    weights: Weights | None = None


class ResolvedSplits(NamedTuple):
    """The samples of each split. `train_index` contains indices into the packed split "train".

    `valid` is None if the job has no validation samples, `test` if it has no test samples.
    """

    train_index: Index
    valid: SplitView | None
    test: SplitView | None


def get_default_share(splits: Mapping[str, int], *, has_windows: bool) -> float | None:
    """Return the default fraction of the training split that is held out for validation.

    None: the dataset has a validation split. 0: the samples are windows of a series, which is divided only at import.
    """
    if splits.get("valid"):
        return None
    return 0.0 if has_windows else DEFAULT_SHARE


def plan_splits(splits: Mapping[str, int], valid: float | None, test: float | None = None) -> SplitPlan:
    """Return the planned sizes of the splits.

    `resolve_splits` can return slightly different sizes, because it keeps at least one training sample of each class.
    If the samples have groups, the sizes can differ by a part of a group.

    Args:
        splits: the number of samples of each split of the dataset.
        valid: the fraction of the training split to use for validation. Default: use the dataset's validation split, or
            0.1 if the dataset has no validation split. 0: no validation samples.
        test: the fraction of the training split to use for testing. Default: use the dataset's test split, if any.

    Raises:
        ValueError: the training split has too few samples, `valid` and `test` sum to 1 or more, or `test` is set and
            the dataset has a test split.
    """
    num_train, num_test = splits["train"], splits.get("test", 0)
    if test is not None and num_test:
        raise ValueError(f"the dataset already has a test split of {num_test} samples; remove `test`")
    has_valid_split = valid is None and bool(splits.get("valid"))
    share = 0.0 if has_valid_split else DEFAULT_SHARE if valid is None else valid
    if share + (test or 0.0) >= 1:
        raise ValueError(f"the shares valid={share:g} and test={test:g} must sum to less than 1")
    is_valid_from_train = share > 0
    num_holdouts = is_valid_from_train + (test is not None)
    if num_train < 1 + num_holdouts:
        raise ValueError(f"the training split must have at least {1 + num_holdouts} samples, it has {num_train}")
    if test is not None:
        num_test = min(max(round(num_train * test), 1), num_train - num_holdouts)
    num_remaining = num_train - (num_test if test is not None else 0)
    num_valid = min(max(round(num_train * share), 1), num_remaining - 1) if is_valid_from_train else 0
    return SplitPlan(
        num_remaining - num_valid,
        splits["valid"] if has_valid_split else num_valid,
        num_test,
        is_valid_from_train,
        test is not None,
    )


def resolve_splits(packed: PackedDataset, spec: DatasetSpec, seed: int) -> ResolvedSplits:
    """Return the samples of each split. Equal arguments select the same samples on every machine.

    No group of samples is divided. Groups of equal and near-equal images are divided only if no other choice is left.

    Raises:
        InvalidSpec: no group of samples can be held out.
        ValueError: the spec sets `valid` or `test`, but the dataset is a time series, which is divided at import.
    """
    if (spec.valid or spec.test) and packed.meta.table is not None and packed.meta.table.window is not None:
        raise ValueError("time series are divided at import; remove `valid` and `test`")
    sizes = plan_splits(packed.meta.splits, spec.valid, spec.test)
    test = _read_whole_split(packed, "test") if packed.meta.splits.get("test") else None
    train = packed.read_split("train")
    train_index = np.arange(len(train.targets), dtype=np.int64)
    labels = _get_strata(packed.meta, train.targets) if spec.stratify else None
    if sizes.is_test_from_train:
        test_index, train_index = _divide_index(train, train_index, sizes.num_test, labels, (seed, _TEST_STREAM))
        test = SplitView(train.images, train.targets, test_index, train.weights)
    if not sizes.is_valid_from_train:
        return ResolvedSplits(train_index, _read_whole_split(packed, "valid") if sizes.num_valid else None, test)
    valid_index, train_index = _divide_index(train, train_index, sizes.num_valid, labels, (seed, _STREAM))
    return ResolvedSplits(train_index, SplitView(train.images, train.targets, valid_index, train.weights), test)


def _divide_index(
    train: PackedSplit, index: Index, num_holdout: int, labels: Index | None, seeds: tuple[int, int]
) -> tuple[Index, Index]:
    """Return the indices of the held-out samples and of the remaining samples, both sorted."""
    strata = None if labels is None else labels[index]
    for groups in _iter_groupings(train):
        holdout = (
            select_holdout(len(index), num_holdout, strata, *seeds)
            if groups is None
            else hold_out_groups(groups[index], num_holdout, strata, *seeds)
        )
        if holdout is not None:
            return index[holdout], np.delete(index, holdout)
    raise InvalidSpec(
        "No group of samples can be held out: every group has all training samples of a class, or there is only one "
        "group. Set `valid` to 0, or upload validation samples."
    )


def _iter_groupings(train: PackedSplit) -> Iterator[Groups | None]:
    """Yield the groups that must not be divided, best first. None: every sample is a group."""
    if train.near_groups is not None:
        yield train.near_groups if train.groups is None else merge_groups(train.groups, train.near_groups)
    yield train.groups


def hold_out_groups(
    groups: Groups, num_holdout: int, labels: Index | None, seed: int, stream: int = _STREAM
) -> Index | None:
    """Return the sorted indices of the samples to hold out, so that no group is divided.

    None: no group can be held out, because every class must keep at least one sample.

    Args:
        groups: int64 (N,), the number of the group of each sample.
        num_holdout: the number of samples to hold out. The result can differ by a part of a group.
        labels: the class of each sample, int64 (N,), for a stratified choice. None: the classes are ignored.
        seed: the seed of the job.
        stream: selects a random stream, together with the seed.
    """
    if labels is None or len(np.unique(labels)) == len(labels):
        labels = np.zeros(len(groups), np.int64)
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rng = np.random.default_rng([seed, stream])
    return select_group_holdout(groups, classes, _allocate_quotas(counts, num_holdout), rng)


def select_holdout(num_samples: int, num_holdout: int, labels: Index | None, seed: int, stream: int = _STREAM) -> Index:
    """Return the sorted indices of the samples to hold out.

    With `labels` (N,), the same fraction of every class is held out, rounded with the largest remainder method. Every
    class keeps at least one sample, so fewer than `num_holdout` samples may be selected. If every class has a single
    sample, the labels are ignored.
    """
    rng = np.random.default_rng([seed, stream])
    order = rng.permutation(num_samples)
    if labels is None or len(np.unique(labels)) == num_samples:
        return np.sort(order[:num_holdout]).astype(np.int64)
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    quotas = _allocate_quotas(counts, num_holdout)
    grouped = order[np.argsort(classes[order], kind="stable")]  # sorted by class, in random order within each class
    starts = np.cumsum(counts) - counts
    rank = np.arange(num_samples) - np.repeat(starts, counts)
    return np.sort(grouped[rank < np.repeat(quotas, counts)]).astype(np.int64)


def _allocate_quotas(counts: NDArray[np.intp], total: int) -> Index:
    """Return the number of samples to hold out of each class: proportional to its count, and at most count - 1."""
    limits = counts - 1
    exact = counts * (total / counts.sum())
    quotas: Index = np.minimum(np.floor(exact).astype(np.int64), limits)
    while (missing := min(total, int(limits.sum())) - int(quotas.sum())) > 0:
        open_classes = np.flatnonzero(quotas < limits)
        by_remainder = open_classes[np.argsort(-(exact - quotas)[open_classes], kind="stable")]
        quotas[by_remainder[:missing]] += 1
    return quotas


def _get_strata(meta: PackedMeta, targets: Targets) -> Index | None:
    """Return the labels for stratified splits, or None for tasks whose samples can have several classes or none."""
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
