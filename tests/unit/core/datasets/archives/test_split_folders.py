"""Finding split folders among the children of a folder."""

import pytest

from core.datasets.archives.folder_tree import FolderNode
from core.datasets.archives.split_folders import SplitFolder, find_split_folders, find_wrapped_folder
from core.errors import InvalidArchive


def build_tree(*folders: str, each: int = 1) -> FolderNode:
    return FolderNode.build({tuple(folder.split("/")): each for folder in folders})


def test_wrapping_folders_inside_of_a_split_are_skipped() -> None:
    splits = find_split_folders(build_tree("train/images/a", "train/images/b", "val/images/a"))
    assert splits is not None
    assert splits.folders == (SplitFolder("train", ("train", "images")), SplitFolder("valid", ("val", "images")))


def test_a_split_with_a_single_class_is_not_skipped() -> None:
    splits = find_split_folders(build_tree("train/a", "train/b", "val/b/day1", "val/b/day2"))
    assert splits is not None
    assert splits.folders[1] == SplitFolder("valid", ("val",))


def test_joined_names_need_equal_classes() -> None:
    assert find_split_folders(build_tree("mytrain/a", "mytrain/b", "myval/a", "myval/b")) is not None
    assert find_split_folders(build_tree("strain/a", "strain/b", "interval/c", "interval/d")) is None


def test_classes_are_not_splits() -> None:
    assert find_split_folders(build_tree("cat", "dog")) is None
    assert find_split_folders(build_tree("train_station/in", "train_station/out", "cat", "dog", each=9)) is None


def test_a_training_folder_and_a_folder_with_the_same_classes_are_ambiguous() -> None:
    with pytest.raises(InvalidArchive, match="'train' could be a split or a class"):
        find_split_folders(build_tree("train/a", "train/b", "other/a", "other/b", each=9))


def test_a_folder_with_most_images_directly_in_it_is_not_a_wrapper() -> None:
    tree = FolderNode.build({("cat",): 9, ("cat", "more"): 1})
    assert find_wrapped_folder(tree) is None
    assert find_wrapped_folder(build_tree("pets/cat", "pets/dog")) == "pets"
