"""Dividing a dataset into splits: seeds, stratification and sizes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datasets.packed import PackedDataset
from core.datasets.packed_writer import PackedWriter
from core.datasets.splits import SplitPlan, plan_splits, resolve_splits, select_holdout
from core.spec import DatasetSpec

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=12)


def make_spec(**changes: Any) -> DatasetSpec:
    return DatasetSpec(name="some", **changes)


@pytest.fixture
def packed(tmp_path: Path) -> PackedDataset:
    writer = PackedWriter(tmp_path, task="classification", classes="abcd", num_outputs=4, image_shape=(1, 2, 2))
    for split, count in (("train", 100), ("valid", 12), ("test", 7)):
        images = np.arange(count * 4).astype(np.uint8).reshape(count, 2, 2, 1)
        writer.append_chunk(split, images, np.arange(count) % 4, [f"{split}/{i}" for i in range(count)])
    writer.finish_dataset()
    return PackedDataset.open(tmp_path)


@pytest.mark.parametrize(
    ("splits", "valid", "expected"),
    [
        ({"train": 100}, None, SplitPlan(90, 10, 0, is_valid_from_train=True)),
        ({"train": 100}, 0.25, SplitPlan(75, 25, 0, is_valid_from_train=True)),
        ({"train": 100, "valid": 8, "test": 3}, None, SplitPlan(100, 8, 3, is_valid_from_train=False)),
        ({"train": 100, "valid": 8}, 0.25, SplitPlan(75, 25, 0, is_valid_from_train=True)),
        ({"train": 2}, 0.01, SplitPlan(1, 1, 0, is_valid_from_train=True)),
        ({"train": 2}, 0.99, SplitPlan(1, 1, 0, is_valid_from_train=True)),
    ],
)
def test_the_plan_has_the_sizes_of_the_spec(splits: dict[str, int], valid: float | None, expected: SplitPlan) -> None:
    assert plan_splits(splits, valid) == expected


def test_too_few_samples_are_rejected() -> None:
    with pytest.raises(ValueError, match="must have at least 2 samples"):
        plan_splits({"train": 1}, None)
    with pytest.raises(ValueError, match="must have at least 3 samples"):
        plan_splits({"train": 2}, None, 0.1)


@pytest.mark.parametrize(
    ("splits", "valid", "test", "expected"),
    [
        ({"train": 100}, 0.2, 0.2, SplitPlan(60, 20, 20, is_valid_from_train=True, is_test_from_train=True)),
        ({"train": 100}, None, 0.3, SplitPlan(60, 10, 30, is_valid_from_train=True, is_test_from_train=True)),
        (
            {"train": 100, "valid": 8},
            None,
            0.3,
            SplitPlan(70, 8, 30, is_valid_from_train=False, is_test_from_train=True),
        ),
        ({"train": 3}, 0.01, 0.98, SplitPlan(1, 1, 1, is_valid_from_train=True, is_test_from_train=True)),
    ],
)
def test_a_test_share_is_taken_from_the_training_split(
    splits: dict[str, int], valid: float | None, test: float, expected: SplitPlan
) -> None:
    assert plan_splits(splits, valid, test) == expected


def test_an_invalid_test_share_is_rejected() -> None:
    with pytest.raises(ValueError, match="already has a test split of 3 samples"):
        plan_splits({"train": 100, "test": 3}, None, 0.2)
    with pytest.raises(ValueError, match=r"must sum to less than 1"):
        plan_splits({"train": 100}, 0.5, 0.5)


def test_three_splits_are_disjoint_and_complete(tmp_path: Path) -> None:
    writer = PackedWriter(tmp_path, task="classification", classes="abcd", num_outputs=4, image_shape=(1, 2, 2))
    writer.append_chunk("train", np.zeros((100, 2, 2, 1), np.uint8), np.arange(100) % 4, [""] * 100)
    writer.finish_dataset()
    packed = PackedDataset.open(tmp_path)
    first, again, other = (resolve_splits(packed, make_spec(valid=0.2, test=0.2), seed=seed) for seed in (5, 5, 6))
    assert first.test is not None
    assert again.test is not None
    assert other.test is not None
    parts = [first.train_index, first.valid.index, first.test.index]
    assert [len(part) for part in parts] == [60, 20, 20]
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    assert np.bincount(first.test.targets[first.test.index]).tolist() == [5, 5, 5, 5]
    assert first.test.index.tolist() == again.test.index.tolist() != other.test.index.tolist()
    assert first.train_index.tolist() == again.train_index.tolist()


def test_the_validation_split_is_the_default(packed: PackedDataset) -> None:
    default = resolve_splits(packed, make_spec(), seed=1)
    assert len(default.train_index) == 100
    assert default.valid.images.shape[0] == len(default.valid.index) == 12
    assert default.test is not None
    assert len(default.test.index) == 7
    holdout = resolve_splits(packed, make_spec(valid=0.2), seed=1)
    assert (len(holdout.train_index), len(holdout.valid.index)) == (80, 20)
    assert np.bincount(holdout.valid.targets[holdout.valid.index]).tolist() == [5, 5, 5, 5]


def test_two_splits_are_disjoint_and_complete(packed: PackedDataset) -> None:
    parts = resolve_splits(packed, make_spec(valid=0.3), seed=5)
    both = np.concatenate([parts.train_index, parts.valid.index])
    assert sorted(both.tolist()) == list(range(100))


def test_the_division_depends_on_the_seed(packed: PackedDataset) -> None:
    first, again, other = (resolve_splits(packed, make_spec(valid=0.2), seed=seed).valid.index for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


def test_the_division_is_stable() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    assert select_holdout(10, 3, labels, seed=777).tolist() == [3, 6, 9]
    assert select_holdout(10, 3, None, seed=777).tolist() == [3, 6, 9]


def test_the_division_is_random_without_stratification(packed: PackedDataset) -> None:
    counts = {
        tuple(np.bincount(parts.valid.targets[parts.valid.index], minlength=4).tolist())
        for seed in range(5)
        for parts in [resolve_splits(packed, make_spec(valid=0.2, stratify=False), seed=seed)]
    }
    assert counts != {(5, 5, 5, 5)}
    assert {sum(each) for each in counts} == {20}


@given(SIZES, st.floats(0.01, 0.99), st.integers(0, 2**63 - 1))
def test_every_class_keeps_a_training_sample(sizes: list[int], share: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    if len(labels) < 2:
        return
    num_holdout = plan_splits({"train": len(labels)}, share).num_valid
    holdout = select_holdout(len(labels), num_holdout, labels, seed)
    counts = np.bincount(labels, minlength=len(sizes))
    taken = np.bincount(labels[holdout], minlength=len(sizes))
    assert len(set(holdout.tolist())) == len(holdout) > 0
    if counts.max() > 1:
        assert ((taken < counts) | (counts == 0)).all()
        assert len(holdout) == min(num_holdout, int((counts - 1).sum()))
    proportional = num_holdout <= (counts - 1).sum() and (counts * share >= 1).all() and share < 0.5
    if proportional:
        assert np.abs(taken - counts * num_holdout / len(labels)).max() <= 1 + 1e-9
