"""The header of BMP files."""

import struct

import numpy as np
import pytest
from PIL import Image

from core import bmp_header, images
from core.errors import InvalidImage, UnsupportedImage
from tests.support.hostile_formats import build_bmp, skipping_bmp
from tests.support.images import encode_image, random_pixels


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_every_mode_has_the_pixels_of_the_image(mode: str) -> None:
    image = Image.fromarray(random_pixels(height=33, width=21)).convert(mode)
    decoded = images.decode_image(encode_image(image, "BMP"), (3, 33, 21))
    np.testing.assert_array_equal(decoded, np.asarray(image.convert("RGB")))


def test_rows_from_top_to_bottom_are_decoded() -> None:
    rows = bytes([1, 2, 3, 0, 4, 5, 6, 0])  # two rows of one pixel, blue first
    assert images.decode_image(build_bmp(1, -2, content=rows), (3, 2, 1)).tolist() == [[[3, 2, 1]], [[6, 5, 4]]]
    assert images.decode_image(build_bmp(1, 2, content=rows), (3, 2, 1)).tolist() == [[[6, 5, 4]], [[3, 2, 1]]]


def test_the_header_of_os2_is_read() -> None:
    header = struct.pack("<LHHHH", 12, 1, 2, 1, 24)
    body = b"BM" + struct.pack("<LLL", 34, 0, 26) + header + bytes([1, 2, 3, 0, 4, 5, 6, 0])
    assert bmp_header.check_bmp(body)[1:] == (2, 1)
    assert images.decode_image(body, (3, 2, 1)).tolist() == [[[6, 5, 4]], [[3, 2, 1]]]


def test_compressed_files_are_unsupported() -> None:
    with pytest.raises(UnsupportedImage, match=r"the compression 1 are not supported\. Save the image uncompressed"):
        bmp_header.check_bmp(skipping_bmp())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"BM", "the header is incomplete"),
        (build_bmp(1, 1)[:30], "the header is incomplete"),
        (build_bmp(0, 1), "it has no pixels"),
        (build_bmp(-5, 1), "it has no pixels"),
        (build_bmp(1000, 1000), "it is truncated"),
    ],
)
def test_a_damaged_header_is_rejected(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidImage, match=f"The BMP image is damaged: {reason}"):
        bmp_header.check_bmp(body)


def test_a_file_with_an_unknown_header_is_not_a_bmp() -> None:
    assert bmp_header.is_bmp(build_bmp(1, 1))
    for body in (b"BM", b"BM" + bytes(100), b"BM" + bytes(12) + struct.pack("<L", 99) + bytes(100)):
        assert not bmp_header.is_bmp(body)


def test_unknown_bits_are_unsupported() -> None:
    with pytest.raises(UnsupportedImage, match="5 bits per pixel"):
        bmp_header.check_bmp(build_bmp(1, 1, bits=5, content=bytes(4)))
