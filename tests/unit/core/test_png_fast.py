"""Ordinary PNGs read quickly: the same pixels as Pillow's, and never a picture that Pillow refuses."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from core.png_fast import decode_simple_png
from tests.support.images import encode_image, random_pixels

MOST = 10**6


def by_pillow(body: bytes) -> np.ndarray | None:
    try:
        with PngImageFile(io.BytesIO(body)) as picture:
            picture.load()
            return np.asarray(picture)
    except Exception:  # noqa: BLE001 - Pillow raises what it likes about damage
        return None


def with_pixels(body: bytes, compressed: bytes) -> bytes:
    """The same file with other compressed pixels, whose checksum is right."""
    at = body.index(b"IDAT")
    end = at + 8 + int.from_bytes(body[at - 4 : at], "big")
    chunk = b"IDAT" + compressed
    length, checksum = struct.pack(">I", len(compressed)), struct.pack(">I", zlib.crc32(chunk))
    return body[: at - 4] + length + chunk + checksum + body[end:]


def damaged(body: bytes, way: int, rng: random.Random) -> bytes:
    """Cut, with a wrong bit, or with wrong, missing or superfluous pixels behind a checksum that is right."""
    if way == 0:
        return body[: rng.randrange(len(body))]
    if way == 1:
        return flipped(body, rng)
    at = body.index(b"IDAT")
    content = body[at + 4 : at + 4 + int.from_bytes(body[at - 4 : at], "big")]
    if way == 4:
        return with_pixels(body, content + rng.randbytes(rng.randrange(1, 9)))
    content = flipped(content, rng)
    return with_pixels(body, content[: rng.randrange(len(content))] if way == 2 else content)


def flipped(body: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(body))
    return body[:at] + bytes([body[at] ^ 1 << rng.randrange(8)]) + body[at + 1 :]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (28, 28), (64, 3), (300, 200)])
@pytest.mark.parametrize("level", [0, 9])
def test_pixels_come_back(channels: int, size: tuple[int, int], level: int) -> None:
    picture = random_pixels(1, *size, channels=channels)
    found = decode_simple_png(encode_image(picture, compress_level=level), MOST)
    assert found is not None
    assert np.array_equal(found, picture)


def test_what_is_not_ordinary_is_left_to_pillow() -> None:
    grey, colour = Image.fromarray(random_pixels(channels=1)), Image.fromarray(random_pixels())
    for picture in (
        grey.convert("1"),
        grey.convert("LA"),
        grey.convert("I;16"),
        colour.convert("P"),
        colour.convert("RGBA"),
    ):
        assert decode_simple_png(encode_image(picture), MOST) is None
    assert decode_simple_png(encode_image(grey, dpi=(72, 72)), MOST) is None
    assert decode_simple_png(encode_image(grey, transparency=3), MOST) is None
    assert decode_simple_png(encode_image(grey, "JPEG"), MOST) is None
    assert decode_simple_png(b"", MOST) is None


def test_too_many_pixels_are_not_decoded() -> None:
    assert decode_simple_png(encode_image(random_pixels(height=10, width=10, channels=1)), 99) is None
    assert decode_simple_png(encode_image(random_pixels(height=10, width=10, channels=1)), 100) is not None


def test_damage_is_never_read_where_pillow_refuses() -> None:
    rng, num_refused, num_read = random.Random(3), 0, 0
    for number in range(2000):
        picture = random_pixels(number, 6, 7, channels=rng.choice([1, 3]))
        body = damaged(encode_image(picture, compress_level=rng.choice([0, 6])), number % 5, rng)
        found, expected = decode_simple_png(body, MOST), by_pillow(body)
        if found is None:
            num_refused += 1
        else:
            num_read += 1
            assert expected is not None
            assert np.array_equal(found, expected)
    assert num_refused > 500
    assert num_read > 200
