"""The PNG of a heatmap."""

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from app.api.heatmap import SHORTEST_SIDE, render_heatmap


def decode_png(png: bytes) -> NDArray[Any]:
    """Return the pixels of a PNG, BGR."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_without_heat_is_unchanged_but_enlarged(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 16, channels), dtype=np.uint8)
    png = decode_png(render_heatmap(image, np.zeros((8, 16), np.float32)))
    scale = SHORTEST_SIDE // 8
    assert png.shape == (8 * scale, 16 * scale, 3)
    expected = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_RGB2BGR)
    np.testing.assert_array_equal(png[::scale, ::scale], expected)


def test_heat_changes_the_image_where_it_is() -> None:
    image = np.full((300, 300, 3), 128, np.uint8)
    heatmap = np.zeros((300, 300), np.float32)
    heatmap[100:200, 100:200] = 1
    png = decode_png(render_heatmap(image, heatmap))
    assert png.shape == (300, 300, 3)
    assert (png[:99] == 128).all()
    assert (png[150, 150] != 128).any()
