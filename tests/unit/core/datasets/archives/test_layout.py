"""Inferring splits and classes from paths."""

import pytest

from core.datasets.archives.layout import SamplePlacement, infer_layout, sort_placements


def infer_placements(*names: str) -> list[SamplePlacement | None]:
    return infer_layout([tuple(name.split("/")) for name in names], []).placements


def test_a_single_top_level_folder_is_ignored_once() -> None:
    assert infer_placements("top/a/1", "top/b/1") == [SamplePlacement("train", "a"), SamplePlacement("train", "b")]
    assert infer_placements("x/top/a/1", "x/top/b/1") == [
        SamplePlacement("train", "top"),
        SamplePlacement("train", "top"),
    ]


@pytest.mark.parametrize("name", ["train", "Train", "TRAINING"])
def test_split_folders_ignore_case(name: str) -> None:
    assert infer_placements(f"{name}/a/1", "Val/a/2") == [SamplePlacement("train", "a"), SamplePlacement("valid", "a")]


def test_images_outside_of_class_folders_are_not_placed() -> None:
    assert infer_placements("a/1", "b/1", "3") == [SamplePlacement("train", "a"), SamplePlacement("train", "b"), None]
    assert infer_placements("train/a/1", "train/b/1", "train/3") == [
        SamplePlacement("train", "a"),
        SamplePlacement("train", "b"),
        None,
    ]


def test_an_unknown_folder_next_to_train_makes_both_classes() -> None:
    assert infer_placements("train/a/1", "other/b/1") == [
        SamplePlacement("train", "train"),
        SamplePlacement("train", "other"),
    ]


def test_images_are_sorted_by_split_class_and_name() -> None:
    placements = [
        SamplePlacement("valid", "a"),
        SamplePlacement("train", "b"),
        None,
        SamplePlacement("train", "a"),
        SamplePlacement("train", "a"),
    ]
    assert sort_placements(placements, ["1", "2", "3", "5", "4"]) == [4, 3, 1, 0]
