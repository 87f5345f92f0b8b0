"""PNG files without metadata."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.errors import InvalidImage, TooLarge
from core.png_chunks import remove_metadata
from tests.support.hostile_images import build_png, many_chunks_png, png_chunk, text_bomb_png
from tests.support.images import encode_image, random_pixels


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "I;16"])
def test_pixels_and_transparency_are_the_same_without_metadata(mode: str) -> None:
    image = Image.new("I;16", (9, 9), 777) if mode == "I;16" else Image.fromarray(random_pixels()).convert(mode)
    options: dict[str, Any] = {"transparency": 3} if mode in ("L", "P") else {}
    body = encode_image(image, dpi=(72, 72), icc_profile=bytes(10**4), **options)
    short, exif = remove_metadata(body)
    assert len(short) < len(body)
    assert exif == b""
    with Image.open(io.BytesIO(short)) as ours, Image.open(io.BytesIO(body)) as original:
        assert ours.info.get("transparency") == original.info.get("transparency")
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(original))


def test_a_file_without_metadata_is_not_copied() -> None:
    body = encode_image(random_pixels())
    assert remove_metadata(body).body is body


@pytest.mark.parametrize("is_last", [False, True])
def test_exif_data_is_found_before_and_after_the_pixels(is_last: bool) -> None:
    chunk = png_chunk(b"eXIf", b"abc")
    body = build_png()
    at = len(body) - 12 if is_last else 33
    assert remove_metadata(body[:at] + chunk + body[at:]) == (body, b"abc")


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_compressed_texts_are_limited_in_total(kind: bytes) -> None:
    assert remove_metadata(text_bomb_png(kind, num_chunks=2)).body == build_png()
    with pytest.raises(InvalidImage, match="more than 2097152 bytes"):
        remove_metadata(text_bomb_png(kind, num_chunks=3))


def test_uncompressed_and_damaged_texts_are_ignored() -> None:
    chunks = (
        png_chunk(b"tEXt", b"key\0" + b"x" * 10**6)
        + png_chunk(b"iTXt", b"key\0\0\0\0\0" + b"x" * 10**6)
        + png_chunk(b"zTXt", b"key\0\0damaged")
        + png_chunk(b"zTXt", b"")
    )
    assert remove_metadata(build_png(chunks=chunks * 3)).body == build_png()


def test_the_number_of_chunks_is_limited() -> None:
    assert remove_metadata(many_chunks_png(num_chunks=19_000)).body == build_png()
    with pytest.raises(TooLarge, match="more than 20000 chunks"):
        remove_metadata(many_chunks_png(num_chunks=20_000))


@pytest.mark.parametrize("end", [0, 8, 20, 40, -20, -3])
def test_a_truncated_file_stays_truncated(end: int) -> None:
    body = build_png(chunks=png_chunk(b"tEXt", b"key\0value"))[:end]
    assert len(remove_metadata(body).body) <= len(body)
    assert not remove_metadata(body).body.endswith(b"IEND\xaeB`\x82")
