"""Conversion of decoded pixels; `test_images.py` has the tests of the rules."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from core import images, pixel_conversion
from tests.support.images import encode_image, random_pixels

COLOR = (3, 12, 10)
GREY = (1, 12, 10)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("shape", [COLOR, GREY])
def test_an_image_that_is_converted_in_strips_has_the_same_pixels(
    mode: str, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image.fromarray(random_pixels(channels=4)).convert("I" if mode == "I;16" else mode)
    options: dict[str, Any] = {"transparency": 3} if mode in ("L", "P") else {}
    body = encode_image(image.convert(mode) if mode == "I;16" else image, dpi=(72, 72), **options)
    whole = images.decode_image(body, shape)
    monkeypatch.setattr(pixel_conversion, "_STRIP_PIXELS", 50)
    np.testing.assert_array_equal(images.decode_image(body, shape), whole)
