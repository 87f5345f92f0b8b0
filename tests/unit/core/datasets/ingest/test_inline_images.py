"""Inline images as a zip of PNG files."""

import io
import zipfile
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.datasets.ingest.inline_images import build_zip, check_shape
from core.errors import InvalidSpec


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 1), (2, 3, 4, 3)])
def test_pixels_are_stored_without_loss(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape)
    with zipfile.ZipFile(io.BytesIO(build_zip(values.tolist(), ["cat", 7], shape))) as archive:
        assert archive.namelist() == ["train/cat/000000.png", "train/7/000001.png"]
        for index, name in enumerate(archive.namelist()):
            pixels = np.asarray(Image.open(io.BytesIO(archive.read(name))))
            np.testing.assert_array_equal(pixels, values[index].reshape(pixels.shape))


@pytest.mark.parametrize(
    ("value", "target", "pointer"),
    [
        (256, "a", "/inputs/0/0/0"),
        (True, "a", "/inputs/0/0/0"),
        (1, 0.5, "/targets/0"),
        (1, "", "/targets/0"),
        (1, "a/b", "/targets/0"),
        (1, ".a", "/targets/0"),
        (1, "a" * 201, "/targets/0"),
    ],
)
def test_an_invalid_value_has_a_pointer(value: Any, target: Any, pointer: str) -> None:
    with pytest.raises(InvalidSpec) as raised:
        build_zip([[[value]]], [target], (1, 1, 1))
    assert raised.value.errors[0][0] == pointer


@pytest.mark.parametrize(("shape", "message"), [((1, 1, 4097), "1 x 4097"), ((1, 2, 2, 2), "2 channels")])
def test_an_unsupported_shape_is_rejected(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        check_shape(shape)
