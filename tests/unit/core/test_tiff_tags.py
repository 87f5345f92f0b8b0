"""The tags of TIFF files that determine the pixels."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from core import images, tiff_tags
from core.errors import InvalidImage, TooLarge, UnsupportedImage
from tests.support.hostile_formats import build_tiff, grey_tags, large_tile_tiff, paged_tiff
from tests.support.images import encode_image, random_pixels

CONTENT = bytes(range(256))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits"])
def test_every_mode_and_compression_has_the_pixels_of_pillow(mode: str, compression: str) -> None:
    image = Image.fromarray(random_pixels(height=33, width=21)).convert(mode)
    body = encode_image(image, "TIFF", compression=compression)
    decoded = images.decode_image(body, (3, 33, 21))
    white = Image.new("RGBA", image.size, "white")
    expected = Image.alpha_composite(white, image.convert("RGBA")) if image.has_transparency_data else image
    np.testing.assert_array_equal(decoded, np.asarray(expected.convert("RGB")))


@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_and_sixteen_bits_are_read(order: str) -> None:
    body = build_tiff(grey_tags(), CONTENT, order=order)
    np.testing.assert_array_equal(images.decode_image(body, (1, 16, 16)).ravel(), np.arange(256))
    deep = (np.arange(128) * 500).astype(f"{order}u2")
    body = build_tiff(grey_tags(16, 8, 256, t258=(3, [16])), deep.tobytes(), order=order)
    np.testing.assert_array_equal(images.decode_image(body, (1, 8, 16)).ravel(), np.arange(128) * 500 >> 8)
    assert images.read_image_size(body) == (8, 16, 1)


def test_zero_is_white_if_the_file_says_so() -> None:
    body = build_tiff(grey_tags(t262=(3, [0])), CONTENT)
    np.testing.assert_array_equal(images.decode_image(body, (1, 16, 16)).ravel(), 255 - np.arange(256))


def test_tiles_and_planes_are_assembled() -> None:
    tags = {tag: value for tag, value in grey_tags(20, 10).items() if tag not in (273, 278, 279)}
    tiles = {322: (4, [16]), 323: (4, [16]), 324: (4, [8, 264]), 325: (4, [256, 256])}
    decoded = images.decode_image(build_tiff(tags | tiles, bytes([7]) * 256 + bytes([9]) * 256), (1, 10, 20))
    assert (set(decoded[:, :16].ravel().tolist()), set(decoded[:, 16:].ravel().tolist())) == ({7}, {9})
    planes: dict[str, Any] = {"t258": (3, [8, 8, 8]), "t262": (3, [2]), "t277": (3, [3])}
    strips = grey_tags(4, 4, t273=(4, [8, 24, 40]), t279=(4, [16, 16, 16]), t284=(3, [2]), **planes)
    body = build_tiff(strips, bytes([1]) * 16 + bytes([2]) * 16 + bytes([3]) * 16)
    assert images.decode_image(body, (3, 4, 4)).reshape(-1, 3).tolist() == [[1, 2, 3]] * 16


def test_other_pages_and_tags_are_removed() -> None:
    body = paged_tiff(64, 5)
    simple = tiff_tags.extract_first_image(body)
    with TiffImageFile(io.BytesIO(simple.body)) as image:
        assert image.n_frames == 1
    described = encode_image(Image.new("L", (9, 8)), "TIFF", description="a secret")
    assert 270 not in _list_tags(tiff_tags.extract_first_image(described).body)


def _list_tags(body: bytes) -> list[int]:
    start = int.from_bytes(body[4:8], "little")
    count = int.from_bytes(body[start : start + 2], "little")
    return [int.from_bytes(body[start + 2 + 12 * n : start + 4 + 12 * n], "little") for n in range(count)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"t259": (3, [7])}, "the compression 7 are not supported. Accepted: none, LZW, Deflate, PackBits"),
        ({"t259": (3, [4])}, "the compression 4"),
        ({"t262": (3, [6])}, "the photometric interpretation 6"),
        ({"t258": (3, [32])}, "the bits per sample 32"),
        ({"t339": (3, [3])}, "the sample format 3"),
        ({"t277": (3, [9])}, "the samples per pixel 9"),
        ({"t317": (3, [3])}, "the predictor 3"),
        ({"t258": (3, [16]), "t262": (3, [0])}, "16 bits in which 0 is white"),
        ({"t258": (3, [8, 16]), "t277": (3, [2])}, "whose samples differ in bits"),
    ],
)
def test_other_features_are_unsupported(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedImage, match=reason):
        tiff_tags.extract_first_image(build_tiff(grey_tags(**changes), CONTENT))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"t256": (4, [0])}, "it has no valid size"),
        ({"t256": (4, [1, 2])}, "tag 256 has 2 values"),
        ({"t273": (4, [10_000])}, "strips or tiles are outside of the file"),
        ({"t279": (4, [100_000])}, "strips or tiles are outside of the file"),
        ({"t278": (4, [4])}, "strips or tiles are missing"),
        ({"t278": (4, [0])}, "its strips or tiles have no size"),
        ({"t273": (4, [8] * 16), "t278": (4, [1]), "t279": (4, [256] * 16)}, "outside of the file"),  # they overlap
        ({"t322": (4, [16])}, "tag 323 is missing"),
    ],
)
def test_damaged_tags_are_rejected(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidImage, match=f"The TIFF image is damaged: .*{reason}"):
        tiff_tags.extract_first_image(build_tiff(grey_tags(**changes), CONTENT))


def test_a_file_without_size_or_directory_is_damaged() -> None:
    tags = {tag: value for tag, value in grey_tags().items() if tag != 256}
    with pytest.raises(InvalidImage, match="tag 256 is missing"):
        tiff_tags.extract_first_image(build_tiff(tags, CONTENT))
    with pytest.raises(InvalidImage, match="a tag is outside of the file"):
        tiff_tags.extract_first_image(b"II*\0\xff\xff\xff\xff")


def test_big_tiff_is_unsupported() -> None:
    with pytest.raises(UnsupportedImage, match="BigTIFF"):
        images.read_image_size(b"II+\0\x08\0\0\0" + bytes(100))


def test_the_number_of_tags_is_limited() -> None:
    assert tiff_tags.extract_first_image(build_tiff(grey_tags(), CONTENT, num_entries=1015)).height == 16
    with pytest.raises(TooLarge, match="more than 1024 tags"):
        tiff_tags.extract_first_image(build_tiff(grey_tags(), CONTENT, num_entries=1016))


def test_the_number_of_strips_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = grey_tags(1, 16, t273=(4, range(8, 24)), t278=(4, [1]), t279=(4, [1] * 16))
    assert images.decode_image(build_tiff(rows, CONTENT), (1, 16, 1)).ravel().tolist() == list(range(16))
    monkeypatch.setattr(tiff_tags, "_MAX_PARTS", 15)
    with pytest.raises(TooLarge, match="more than 15 strips"):
        tiff_tags.extract_first_image(build_tiff(rows, CONTENT))


def test_tiles_must_not_be_much_larger_than_the_image() -> None:
    assert tiff_tags.extract_first_image(large_tile_tiff(1024)).height == 16
    with pytest.raises(TooLarge, match="tiles that are larger than the image"):
        tiff_tags.extract_first_image(large_tile_tiff(1040))
