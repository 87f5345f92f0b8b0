"""Dividing a dataset into splits: seeds, stratification and sizes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.datasets.packed import PackedDataset
from core.datasets.packed_writer import PackedWriter
from core.datasets.splits import (
    SplitPlan,
    SplitView,
    get_default_share,
    hold_out_groups,
    plan_splits,
    resolve_splits,
    select_holdout,
)
from core.errors import InvalidSpec
from core.spec import DatasetSpec

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=12)


def make_spec(**changes: Any) -> DatasetSpec:
    return DatasetSpec(name="some", **changes)


def get_valid(packed: PackedDataset, seed: int, **changes: Any) -> SplitView:
    valid = resolve_splits(packed, make_spec(**changes), seed=seed).valid
    assert valid is not None
    return valid


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
        ({"train": 100}, 0, SplitPlan(100, 0, 0, is_valid_from_train=False)),
        ({"train": 1}, 0, SplitPlan(1, 0, 0, is_valid_from_train=False)),
        ({"train": 100, "valid": 8, "test": 3}, 0, SplitPlan(100, 0, 3, is_valid_from_train=False)),
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
    assert first.valid is not None
    parts = [first.train_index, first.valid.index, first.test.index]
    assert [len(part) for part in parts] == [60, 20, 20]
    assert sorted(np.concatenate(parts).tolist()) == list(range(100))
    assert np.bincount(first.test.targets[first.test.index]).tolist() == [5, 5, 5, 5]
    assert first.test.index.tolist() == again.test.index.tolist() != other.test.index.tolist()
    assert first.train_index.tolist() == again.train_index.tolist()


def test_the_validation_split_is_the_default(packed: PackedDataset) -> None:
    default = resolve_splits(packed, make_spec(), seed=1)
    assert len(default.train_index) == 100
    assert default.valid is not None
    assert default.valid.images.shape[0] == len(default.valid.index) == 12
    assert default.test is not None
    assert len(default.test.index) == 7
    holdout = resolve_splits(packed, make_spec(valid=0.2), seed=1)
    assert holdout.valid is not None
    assert (len(holdout.train_index), len(holdout.valid.index)) == (80, 20)
    assert np.bincount(holdout.valid.targets[holdout.valid.index]).tolist() == [5, 5, 5, 5]


def test_two_splits_are_disjoint_and_complete(packed: PackedDataset) -> None:
    parts = resolve_splits(packed, make_spec(valid=0.3), seed=5)
    assert parts.valid is not None
    both = np.concatenate([parts.train_index, parts.valid.index])
    assert sorted(both.tolist()) == list(range(100))


def test_the_division_depends_on_the_seed(packed: PackedDataset) -> None:
    first, again, other = (get_valid(packed, seed, valid=0.2).index for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


def test_the_division_is_stable() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    assert select_holdout(10, 3, labels, seed=777).tolist() == [3, 6, 9]
    assert select_holdout(10, 3, None, seed=777).tolist() == [3, 6, 9]


def test_the_division_is_random_without_stratification(packed: PackedDataset) -> None:
    counts = {
        tuple(np.bincount(valid.targets[valid.index], minlength=4).tolist())
        for seed in range(5)
        for valid in [get_valid(packed, seed, valid=0.2, stratify=False)]
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


def write_groups(
    folder: Path, groups: list[int] | None, near_groups: list[int] | None = None, targets: list[int] | None = None
) -> PackedDataset:
    """Write a training split with groups, with near-equal images, or with both."""
    count = len(groups or near_groups or ())
    writer = PackedWriter(
        folder,
        task="classification",
        classes="ab",
        num_outputs=2,
        image_shape=(1, 1, 1),
        grouped=groups is not None,
    )
    labels = np.asarray(targets or np.arange(count) % 2)
    numbers = None if groups is None else np.asarray(groups)
    writer.append_chunk("train", np.zeros((count, 1, 1, 1), np.uint8), labels, [""] * count, groups=numbers)
    writer.finish_dataset(None if near_groups is None else {"train": np.asarray(near_groups)})
    return PackedDataset.open(folder)


@given(st.lists(st.integers(0, 12), min_size=12, max_size=60), st.floats(0.05, 0.6), st.integers(0, 2**63 - 1))
def test_no_group_is_in_two_splits(groups: list[int], share: float, seed: int) -> None:
    numbers, labels = np.asarray(groups), np.arange(len(groups)) % 3
    num_holdout = plan_splits({"train": len(groups)}, share).num_valid
    holdout = hold_out_groups(numbers, num_holdout, labels, seed)
    assume(holdout is not None)
    assert holdout is not None
    remaining = np.delete(np.arange(len(groups)), holdout)
    assert not set(numbers[holdout].tolist()) & set(numbers[remaining].tolist())
    assert set(labels[remaining].tolist()) == {0, 1, 2}
    assert 0 < len(holdout) < len(groups)
    again = hold_out_groups(numbers, num_holdout, labels, seed)
    assert again is not None
    assert again.tolist() == holdout.tolist()


def test_small_groups_are_stratified_and_counted_exactly() -> None:
    groups, labels = np.arange(1000) // 2, np.arange(1000) // 2 % 5
    for seed in range(3):
        holdout = hold_out_groups(groups, 100, labels, seed)
        assert holdout is not None
        assert np.bincount(labels[holdout]).tolist() == [20] * 5
    first, other = (hold_out_groups(groups, 100, labels, seed) for seed in (1, 2))
    assert first is not None
    assert other is not None
    assert first.tolist() != other.tolist()


def test_large_groups_come_as_close_as_they_can() -> None:
    groups = np.repeat([0, 1, 2, 3], [40, 30, 20, 10])
    for num_holdout, sizes in ((10, {10}), (28, {20, 30}), (3, {10})):
        for seed in range(5):
            holdout = hold_out_groups(groups, num_holdout, None, seed)
            assert holdout is not None
            assert len(holdout) in sizes, (num_holdout, seed)


def test_jobs_keep_groups_in_one_split(tmp_path: Path) -> None:
    packed = write_groups(tmp_path, [number // 5 for number in range(100)])
    splits = resolve_splits(packed, make_spec(valid=0.2, test=0.2), seed=3)
    assert splits.valid is not None
    assert splits.test is not None
    parts = [set((index // 5).tolist()) for index in (splits.train_index, splits.valid.index, splits.test.index)]
    assert [len(part) for part in parts] == [12, 4, 4]
    assert len(set.union(*parts)) == 20


def test_groups_and_near_equal_images_are_joined(tmp_path: Path) -> None:
    groups, near = [number // 2 for number in range(40)], list(range(40))
    near[1] = near[2] = 0  # joins the groups 0 and 1
    packed = write_groups(tmp_path, groups, near)
    for seed in range(20):
        index = set(get_valid(packed, seed, valid=0.25).index.tolist())
        assert len({0, 1, 2, 3} & index) in (0, 4)


def test_near_equal_images_are_divided_if_no_other_choice_is_left(tmp_path: Path) -> None:
    everything = write_groups(tmp_path / "near", None, [0] * 20)
    assert len(get_valid(everything, 1, valid=0.2).index) == 4
    groups = write_groups(tmp_path / "groups", [0] * 10 + [1] * 10, [0] * 20)
    assert len(get_valid(groups, 1, valid=0.2).index) == 10


def test_one_group_cannot_be_divided(tmp_path: Path) -> None:
    packed = write_groups(tmp_path, [7] * 20)
    with pytest.raises(InvalidSpec, match="No group of samples can be held out"):
        resolve_splits(packed, make_spec(valid=0.2), seed=1)
    assert len(resolve_splits(packed, make_spec(valid=0), seed=1).train_index) == 20


def test_datasets_without_groups_are_divided_as_before(tmp_path: Path) -> None:
    writer = PackedWriter(tmp_path, task="classification", classes="ab", num_outputs=2, image_shape=(1, 1, 1))
    writer.append_chunk("train", np.zeros((10, 1, 1, 1), np.uint8), np.arange(10) // 5, [""] * 10)
    meta = writer.finish_dataset()
    assert (meta.grouped, meta.near_grouped) == (False, False)
    expected = select_holdout(10, 2, np.arange(10) // 5, 5).tolist()
    assert get_valid(PackedDataset.open(tmp_path), 5, valid=0.2).index.tolist() == expected


def test_a_job_without_validation_uses_no_validation_samples(packed: PackedDataset) -> None:
    splits = resolve_splits(packed, make_spec(valid=0), seed=1)
    assert splits.valid is None
    assert splits.train_index.tolist() == list(range(100))
    assert splits.test is not None


def test_the_default_share_depends_on_the_dataset() -> None:
    assert get_default_share({"train": 9, "valid": 2}, has_windows=True) is None
    assert get_default_share({"train": 9}, has_windows=True) == 0
    assert get_default_share({"train": 9}, has_windows=False) == 0.1
