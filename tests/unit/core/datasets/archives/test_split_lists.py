"""Lists of the images of each split."""

from pathlib import Path

import pytest

from core.datasets.archives.annotations import AnnotationFile
from core.datasets.archives.split_lists import SplitLists, get_list_split, read_split_lists
from core.errors import InvalidArchive

IMAGES = [("w", "cat", "1.png"), ("w", "cat", "2.png"), ("w", "dog", "1.png"), ("w", "dog", "3.png")]


def read(folder: Path, **texts: str) -> SplitLists | None:
    """Read lists; two underscores in a keyword are a slash."""
    files = []
    for name, text in texts.items():
        path = folder / name
        path.write_text(text)
        files.append(AnnotationFile((*name.split("__")[:-1], f"{name.split('__')[-1]}.txt"), path))
    return read_split_lists(files, IMAGES, ("w",))


def test_lists_select_splits(tmp_path: Path) -> None:
    lists = read(tmp_path, w__train="cat/1.png\r\n\ndog/1\n", w__val="cat/2.png\nnone.png\n")
    assert lists is not None
    assert lists.splits == {0: "train", 2: "train", 1: "valid"}
    assert lists.files == {("w", "train.txt"), ("w", "val.txt")}
    assert lists.has_train
    assert lists.warnings == ("w/val.txt: 1 lines name no image of the archive.",)


def test_lists_can_be_above_or_next_to_the_class_folders(tmp_path: Path) -> None:
    for name in ("testing_list", "w__testing_list", "meta__testing_list", "w__meta__testing_list"):
        lists = read(tmp_path, **{name: "cat/2\n"})
        assert lists is not None
        assert (lists.splits, lists.has_train) == ({1: "test"}, False)
    assert read(tmp_path, other__deep__test="cat/2\n") is None


def test_other_texts_are_not_lists(tmp_path: Path) -> None:
    assert read(tmp_path, test="the test images\nwere taken in May\ncat/2.png\n") is None
    assert read(tmp_path, val="cat/1.png cat\ndog/1.png dog\n") is None
    assert read(tmp_path, notes="cat/1.png\n") is None
    assert read(tmp_path, test="") is None


def test_contradicting_lists_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidArchive, match=r"train.txt: Line 2: the image is also in the list test.txt"):
        read(tmp_path, test="cat/1.png\n", train="cat/2.png\ncat/1.png\n")
    with pytest.raises(InvalidArchive, match=r"The split valid has two lists: val.txt and valid.txt"):
        read(tmp_path, val="cat/1.png\n", valid="cat/2.png\n")
    with pytest.raises(InvalidArchive, match=r"test.txt: Line 2: '1.png' can mean several images"):
        read(tmp_path, test="cat/2.png\n1.png\n")


def test_lists_are_recognized_by_their_name() -> None:
    assert get_list_split(("Train.TXT",)) == "train"
    assert get_list_split(("validation_list.txt",)) == "valid"
    assert get_list_split(("test.csv",)) is None
    assert get_list_split(("classes.txt",)) is None
