"""Names of exported files: safe on every system, different, and in the order of the dataset."""

import pytest

from core.datasets.export.file_names import clean_name, name_files, name_folders


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cat", "cat"),
        ("../../etc", "_.._.._etc"),
        ("a/b\\c", "a_b_c"),
        ("C:x", "C_x"),
        ("..", "_"),
        ("", "_"),
        (".hidden", "_.hidden"),
        ("__MACOSX", "___MACOSX"),
        ("nul", "_nul"),
        ("con.txt", "_con.txt"),
        ("end. ", "end"),
        ("line\nbreak\x00", "line_break_"),
        ("u\u0308", "ü"),
        ("ü" * 300, "ü" * 100),
    ],
)
def test_a_name_is_safe(text: str, name: str) -> None:
    assert clean_name(text) == name


def test_folders_of_different_classes_are_different() -> None:
    assert name_folders(["a/b", "a_b", "a:b", "c"]) == ["a_b", "a_b-2", "a_b-3", "c"]


def test_files_have_the_names_of_the_uploaded_files() -> None:
    assert name_files(["cat/1.JPG", "cat/deep/2.png", "3.txt"], "train/cat/") == [
        "train/cat/1.png",
        "train/cat/2.png",
        "train/cat/3.txt.png",
    ]


@pytest.mark.parametrize("names", [["b.png", "a.png"], ["a.jpg", "a.png"], ["x/a.png", "y/a.png"]])
def test_files_that_are_equal_or_not_sorted_are_numbered(names: list[str]) -> None:
    files = name_files(names)
    assert files == sorted(set(files))
    assert files[0].startswith("1-")


def test_numbers_have_leading_zeros() -> None:
    files = name_files(["same"] * 11)
    assert (files[0], files[-1]) == ("01-same.png", "11-same.png")
    assert files == sorted(files)
