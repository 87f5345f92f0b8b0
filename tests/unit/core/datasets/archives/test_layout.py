"""From names to splits and classes."""

import pytest

from core.datasets.archives.layout import SamplePlacement, infer_layout, sort_placements


def places(*names: str) -> list[SamplePlacement | None]:
    return infer_layout([tuple(name.split("/")) for name in names], []).placements


def test_one_folder_around_everything_is_taken_off_once() -> None:
    assert places("top/a/1", "top/b/1") == [SamplePlacement("train", "a"), SamplePlacement("train", "b")]
    assert places("x/top/a/1", "x/top/b/1") == [SamplePlacement("train", "top"), SamplePlacement("train", "top")]


@pytest.mark.parametrize("name", ["train", "Train", "TRAINING"])
def test_split_folders_are_known_by_any_case(name: str) -> None:
    assert places(f"{name}/a/1", "Val/a/2") == [SamplePlacement("train", "a"), SamplePlacement("valid", "a")]


def test_images_outside_of_class_folders_have_no_place() -> None:
    assert places("a/1", "b/1", "3") == [SamplePlacement("train", "a"), SamplePlacement("train", "b"), None]
    assert places("train/a/1", "train/b/1", "train/3") == [
        SamplePlacement("train", "a"),
        SamplePlacement("train", "b"),
        None,
    ]


def test_a_strange_folder_beside_train_makes_all_of_them_classes() -> None:
    assert places("train/a/1", "other/b/1") == [SamplePlacement("train", "train"), SamplePlacement("train", "other")]


def test_images_are_ordered_by_split_class_and_name() -> None:
    found = [
        SamplePlacement("valid", "a"),
        SamplePlacement("train", "b"),
        None,
        SamplePlacement("train", "a"),
        SamplePlacement("train", "a"),
    ]
    assert sort_placements(found, ["1", "2", "3", "5", "4"]) == [4, 3, 1, 0]
