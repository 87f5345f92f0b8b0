"""Files of names and classes."""

from pathlib import Path

import pytest

from core.datasets.archives.annotations import AnnotationFile, find_labels, is_annotation_file

IMAGES = {4: ("val", "images", "a.png"), 5: ("val", "images", "b.png")}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("val/val_annotations.txt", True),
        ("top/val/labels.csv", True),
        ("test_ground_truth.tsv", True),
        ("val.txt", True),
        ("train/n01/n01_boxes.txt", False),
        ("train_labels.csv", False),
        ("val/labels/1.txt", False),
        ("val/readme.txt", False),
        ("val/val_annotations.json", False),
    ],
)
def test_annotation_files_are_recognized_by_their_path(name: str, expected: bool) -> None:
    assert is_annotation_file(tuple(name.split("/"))) is expected


@pytest.mark.parametrize(
    "text",
    [
        "a.png\tcat\t0\t0\t9\nb.png\tdog\t0\t0\t9\n",
        "name,class\na.png,cat\nb.png,dog\n",
        'class;name\n"cat";"images/a.png"\ndog;images/b.png',
        "a cat\nb dog\n",
        "\ufeffval/images/a.png,cat\r\n./images/b.png,dog\r\n",
    ],
)
def test_common_formats_are_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(text)
    match = find_labels(IMAGES, [AnnotationFile(("val", "labels.csv"), tmp_path / "file")], "valid", {"cat", "dog"})
    assert match is not None
    assert match.labels == {4: "cat", 5: "dog"}


def test_the_file_with_most_images_is_used(tmp_path: Path) -> None:
    texts = ["a.png,cat\n", "a.png,dog\nb.png,dog\n", "unrelated text\n"]
    files = [AnnotationFile(("val", f"labels{n}.csv"), tmp_path / str(n)) for n in range(3)]
    for file, text in zip(files, texts, strict=True):
        file.path.write_text(text)
    match = find_labels(IMAGES, files, "valid", {"cat", "dog"})
    assert match is not None
    assert match.file == files[1]


def test_files_of_other_splits_and_unknown_classes_are_not_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a.png,cat\nb.png,emu\n")
    file = AnnotationFile(("val", "labels.csv"), tmp_path / "file")
    assert find_labels(IMAGES, [file], "test", {"cat"}) is None
    assert find_labels(IMAGES, [file], "valid", {"fox"}) is None
    assert find_labels(IMAGES | {6: ("val", "c.png")}, [file], "valid", {"cat"}) is None
