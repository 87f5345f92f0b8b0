"""Recognition of image formats by their first bytes, and the sizes that headers declare."""

import pytest
from PIL import Image

from core.errors import InvalidImage, UnsupportedImage
from core.image_formats import SIMPLIFIERS, detect_format, read_declared_size
from tests.support.images import encode_image, random_pixels


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_format_is_recognized_by_its_content(kind: str) -> None:
    assert detect_format(encode_image(random_pixels(), kind)) == kind.lower()


def test_other_formats_are_named_and_the_accepted_ones_listed() -> None:
    with pytest.raises(
        UnsupportedImage, match=r"PDF images are not supported\. Send JPEG, PNG, WEBP, GIF, BMP or TIFF"
    ):
        detect_format(b"%PDF-1.7")
    with pytest.raises(InvalidImage, match="is not a JPEG, PNG, WEBP, GIF, BMP or TIFF image"):
        detect_format(b"text")
    with pytest.raises(InvalidImage, match="is empty"):
        detect_format(b"")


@pytest.mark.parametrize("lossless", [True, False])
def test_the_size_in_the_header_of_a_webp_is_the_size_of_the_image(lossless: bool) -> None:
    body = encode_image(Image.new("RGB", (61, 47)), "WEBP", lossless=lossless)
    assert read_declared_size(body, "webp") == (47, 61)


def test_the_size_in_the_header_of_a_png_is_the_size_of_the_image() -> None:
    assert read_declared_size(encode_image(Image.new("L", (61, 47))), "png") == (47, 61)
    assert read_declared_size(encode_image(Image.new("L", (61, 47)), "JPEG"), "jpeg") is None


@pytest.mark.parametrize("kind", ["gif", "bmp", "tiff"])
def test_simplified_files_declare_their_size_and_have_the_same_pixels(kind: str) -> None:
    simple = SIMPLIFIERS[kind](encode_image(random_pixels(height=47, width=61), kind.upper()))
    assert (simple.height, simple.width) == (47, 61)
    assert detect_format(simple.body) == kind
