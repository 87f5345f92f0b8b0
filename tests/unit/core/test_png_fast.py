"""Ordinary PNGs read quickly: the same pixels as Pillow's, and never a image that Pillow refuses."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from core.png_fast import decode_simple_png
from tests.support.cpu_limit import run_with_limits
from tests.support.hostile_images import build_png, excess_data_png, png_chunk
from tests.support.images import encode_image, random_pixels

MAX_PIXELS = 10**6


def decode_with_pillow(body: bytes) -> np.ndarray | None:
    try:
        with PngImageFile(io.BytesIO(body)) as image:
            image.load()
            return np.asarray(image)
    except Exception:  # noqa: BLE001 - Pillow raises many types for damaged files
        return None


def replace_pixels(body: bytes, compressed: bytes) -> bytes:
    """Return the file with other compressed pixels and a valid checksum."""
    at = body.index(b"IDAT")
    end = at + 8 + int.from_bytes(body[at - 4 : at], "big")
    chunk = b"IDAT" + compressed
    length, checksum = struct.pack(">I", len(compressed)), struct.pack(">I", zlib.crc32(chunk))
    return body[: at - 4] + length + chunk + checksum + body[end:]


def damage(body: bytes, way: int, rng: random.Random) -> bytes:
    """Return the file truncated, with a flipped bit, or with invalid pixels and a valid checksum."""
    if way == 0:
        return body[: rng.randrange(len(body))]
    if way == 1:
        return flip_bit(body, rng)
    at = body.index(b"IDAT")
    content = body[at + 4 : at + 4 + int.from_bytes(body[at - 4 : at], "big")]
    if way == 4:
        return replace_pixels(body, content + rng.randbytes(rng.randrange(1, 9)))
    content = flip_bit(content, rng)
    return replace_pixels(body, content[: rng.randrange(len(content))] if way == 2 else content)


def flip_bit(body: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(body))
    return body[:at] + bytes([body[at] ^ 1 << rng.randrange(8)]) + body[at + 1 :]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (28, 28), (64, 3), (300, 200)])
@pytest.mark.parametrize("level", [0, 9])
def test_simple_images_are_decoded_exactly(channels: int, size: tuple[int, int], level: int) -> None:
    image = random_pixels(1, *size, channels=channels)
    decoded = decode_simple_png(encode_image(image, compress_level=level), MAX_PIXELS)
    assert decoded is not None
    assert np.array_equal(decoded, image)


def test_other_images_are_left_to_pillow() -> None:
    grey, color = Image.fromarray(random_pixels(channels=1)), Image.fromarray(random_pixels())
    for image in (
        grey.convert("1"),
        grey.convert("LA"),
        grey.convert("I;16"),
        color.convert("P"),
        color.convert("RGBA"),
    ):
        assert decode_simple_png(encode_image(image), MAX_PIXELS) is None
    assert decode_simple_png(encode_image(grey, dpi=(72, 72)), MAX_PIXELS) is None
    assert decode_simple_png(encode_image(grey, transparency=3), MAX_PIXELS) is None
    assert decode_simple_png(encode_image(grey, "JPEG"), MAX_PIXELS) is None
    assert decode_simple_png(b"", MAX_PIXELS) is None


def test_an_oversized_image_is_not_decoded() -> None:
    assert decode_simple_png(encode_image(random_pixels(height=10, width=10, channels=1)), 99) is None
    assert decode_simple_png(encode_image(random_pixels(height=10, width=10, channels=1)), 100) is not None


def test_damaged_images_are_decoded_only_as_by_pillow() -> None:
    rng, num_rejected, num_read = random.Random(3), 0, 0
    for number in range(2000):
        image = random_pixels(number, 6, 7, channels=rng.choice([1, 3]))
        body = damage(encode_image(image, compress_level=rng.choice([0, 6])), number % 5, rng)
        decoded, expected = decode_simple_png(body, MAX_PIXELS), decode_with_pillow(body)
        if decoded is None:
            num_rejected += 1
        else:
            num_read += 1
            assert expected is not None
            assert np.array_equal(decoded, expected)
    assert num_rejected > 500
    assert num_read > 200


def test_data_behind_the_pixels_is_not_decompressed() -> None:
    body = excess_data_png(2**32)
    assert run_with_limits(decode_simple_png, body, MAX_PIXELS, cpu_s=1, new_bytes=2**27) is None


def test_compressed_pixels_in_many_chunks_are_left_to_pillow() -> None:
    noise = zlib.compress(random.Random(1).randbytes(40_200), 0)
    chunks = [png_chunk(b"IDAT", noise[start : start + 20]) for start in range(0, len(noise), 20)]
    assert decode_simple_png(build_png(200, 201, pixels=b"".join(chunks)), MAX_PIXELS) is None


def test_large_images_are_left_to_pillow() -> None:
    assert decode_simple_png(build_png(1500, 1500), 10**7) is None
