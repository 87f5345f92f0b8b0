"""Recognizing the names of splits."""

import pytest

from core.datasets.split_names import guess_split, is_plain_split_name, normalize_name, parse_split_name


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("TRAIN", "train"),
        ("trainval", "train"),
        ("trainset", "train"),
        ("TrainImages", "train"),
        ("seg_train", "train"),
        ("val2017", "valid"),
        ("my validation", "valid"),
        ("dev-set", "valid"),
        ("hold-out", "test"),
        ("held_out_images", "test"),
        ("test.1", "test"),
        ("train_test", None),
        ("strain", None),
        ("invalid", None),
        ("my_train_images_2", None),
        ("2017", None),
    ],
)
def test_the_first_or_last_word_names_the_split(name: str, split: str | None) -> None:
    assert parse_split_name(name) == split


def test_parts_of_words_are_only_guessed() -> None:
    assert (parse_split_name("mytrain"), guess_split("mytrain")) == (None, "train")
    assert (guess_split("myval"), guess_split("invalid"), guess_split("cat")) == ("valid", None, None)


def test_a_plain_name_has_no_other_words() -> None:
    assert is_plain_split_name("Train")
    assert not is_plain_split_name("train_station")


def test_names_are_composed() -> None:
    assert normalize_name("cafe\u0301") == "café"
