"""Matching the rows of a label file with images."""

from pathlib import Path

import pytest

from core.datasets.archives.annotations import AnnotationFile
from core.datasets.archives.label_file import open_label_file
from core.datasets.archives.label_match import LabelMatch, match_label_rows
from core.errors import InvalidArchive

IMAGES = [("a", "1.png"), ("a", "2.png"), ("b", "1.png")]


def match_text(folder: Path, text: str) -> LabelMatch:
    path = folder / "labels"
    path.write_text(text)
    file = open_label_file([AnnotationFile(("labels.csv",), path)], IMAGES, None)
    assert file is not None
    return match_label_rows(file, IMAGES)


def test_rows_are_matched_and_the_rest_is_counted(tmp_path: Path) -> None:
    match = match_text(tmp_path, "name,label\na/1,cat\n2,dog\n2.png,dog\nnone.png,cat\n")
    assert {index: row.label for index, row in match.rows.items()} == {0: "cat", 1: "dog"}
    assert match.to_dict(3) == {
        "name": "labels.csv",
        "columns": {"name": "name", "label": "label"},
        "num_rows": 4,
        "num_missing": 1,
        "missing": ["none.png"],
        "num_unlisted": 1,
    }
    assert match.list_warnings(3) == [
        "labels.csv: 1 of 4 rows name no image of the archive, for example 'none.png'.",
        "labels.csv: 1 images are not in the file and were not imported.",
        "labels.csv: 1 rows repeat an earlier row.",
    ]
    assert (match.has_labels, match.has_splits) == (True, False)


def test_contradicting_rows_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidArchive, match=r"Line 3: 'a/1' has other values in line 2"):
        match_text(tmp_path, "name,label\na/1.png,cat\na/1,dog\n")


def test_an_ambiguous_name_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidArchive, match=r"Line 2: '1.png' can mean several images: a/1.png, b/1.png"):
        match_text(tmp_path, "name,label\n1.png,cat\n")
