"""Samples are shown as PNG files, values and labels."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.datasets.columns import Column, Table
from core.datasets.packed import PackedMeta, Task
from core.datasets.sample_rendering import decode_rows, encode_image, find_class_samples, list_labels, to_numbers

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 3)).astype(np.uint8)


def build_meta(task: Task, classes: str, num_outputs: int) -> PackedMeta:
    return PackedMeta(
        task=task,
        classes=tuple(classes),
        num_outputs=num_outputs,
        image_shape=(1, 2, 2),
        splits={"train": 4},
        mean=(0.0,),
        std=(1.0,),
        resize="stretch",
        content_hash="0",
    )


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(1, PIXELS[..., 0]), (2, PIXELS[..., 0]), (3, PIXELS), (4, PIXELS)],
)
def test_an_image_has_the_stored_pixels(channels: int, expected: Any) -> None:
    pixels = np.concatenate([PIXELS, PIXELS[..., :1]], axis=-1)[..., :channels]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_image(pixels)))), expected)


@pytest.mark.parametrize(("size", "shape"), [(12, (12, 8)), (3, (3, 2)), (1000, (1000, 667))])
def test_the_longer_side_has_the_size(size: int, shape: tuple[int, int]) -> None:
    image = np.asarray(Image.open(io.BytesIO(encode_image(PIXELS, size))))
    assert image.shape == (*shape, 3)
    if size == 12:
        assert np.array_equal(image, PIXELS.repeat(2, axis=0).repeat(2, axis=1))


def test_a_narrow_image_keeps_a_pixel() -> None:
    image = Image.open(io.BytesIO(encode_image(np.zeros((300, 1, 1), np.uint8), 8)))
    assert image.size == (1, 8)


def test_rows_have_the_values_of_their_columns() -> None:
    columns = (Column(name="age"), Column(name="kind", categories=("cat", "dog")))
    table = Table(columns=columns, targets=("y",))
    rows = np.asarray([[0.1, 2], [np.nan, 0], [3, 1]], np.float32)
    assert decode_rows(table, rows) == [
        {"age": 0.1, "kind": "dog"},
        {"age": None, "kind": None},
        {"age": 3.0, "kind": "cat"},
    ]


@pytest.mark.parametrize(
    ("task", "num_outputs", "targets", "labels"),
    [
        ("classification", 2, np.asarray([1, 0, 1]), [["b"], ["a"], ["b"]]),
        ("binary", 1, np.asarray([[1], [0], [1]], np.float32), [["b"], ["a"], ["b"]]),
        ("multilabel", 2, np.asarray([[1, 1], [0, 0], [0, 1]], np.float32), [["a", "b"], [], ["b"]]),
    ],
)
def test_labels_and_their_samples(task: Task, num_outputs: int, targets: Any, labels: list[list[str]]) -> None:
    meta = build_meta(task, "ab", num_outputs)
    assert [list_labels(meta, np.asarray(target)) for target in targets] == labels
    for name in "ab":
        expected = [index for index, names in enumerate(labels) if name in names]
        assert find_class_samples(meta, targets, name).tolist() == expected
    with pytest.raises(ValueError, match="not in"):
        find_class_samples(meta, targets, "c")


def test_a_regression_has_numbers_and_no_labels() -> None:
    meta = build_meta("regression", "", 2)
    target = np.asarray([0.1, -2.5], np.float32)
    assert (list_labels(meta, target), to_numbers(target)) == ([], [0.1, -2.5])
