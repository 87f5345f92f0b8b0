"""Decoding JPEG files at a reduced size."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core import images, jpeg_decoding, resizing
from core.errors import InvalidImage
from core.pixel_conversion import Pixels
from core.resizing import ResizePolicy
from tests.support.cpu_limit import run_with_limits
from tests.support.images import encode_image, random_pixels


@pytest.mark.parametrize(
    ("size", "target", "scale"),
    [
        ((63, 64), (16, 16), 1),
        ((64, 64), (16, 16), 2),
        ((256, 64), (16, 16), 2),
        ((256, 256), (16, 16), 8),
        ((9999, 9999), (1, 1), 8),
        ((8, 8), (16, 16), 1),
    ],
)
def test_the_reduced_image_has_at_least_twice_the_target_size(
    size: tuple[int, int], target: tuple[int, int], scale: int
) -> None:
    assert jpeg_decoding.choose_scale(size, target) == scale


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(64, 96), (61, 95), (9, 17)])
def test_the_size_is_divided_and_rounded_up(scale: int, size: tuple[int, int]) -> None:
    body = encode_image(random_pixels(height=size[0], width=size[1]), "JPEG")
    pixels = jpeg_decoding.decode_jpeg(body, size, 3, scale=scale, orientation=1)
    assert pixels.shape == (-(-size[0] // scale), -(-size[1] // scale), 3)


def test_a_progressive_jpeg_needs_memory_for_its_coefficients() -> None:
    image = Image.fromarray(np.zeros((3000, 2000, 3), np.uint8))
    baseline, progressive = (encode_image(image, "JPEG", progressive=choice) for choice in (False, True))
    assert jpeg_decoding.estimate_jpeg_bytes(baseline, (3000, 2000), 3, 8) < 2**20
    assert jpeg_decoding.estimate_jpeg_bytes(progressive, (3000, 2000), 3, 8) > 36_000_000


@pytest.mark.parametrize(("divisor", "scale"), [(3, 1), (4, 2), (7, 2), (8, 4), (16, 8), (100, 8)])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("resize", ["stretch", "crop"])
def test_a_jpeg_is_decoded_at_a_reduced_size_if_it_is_much_larger_than_needed(
    divisor: int, scale: int, orientation: int, resize: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, ...]] = []

    def resize_pixels(pixels: Pixels, *args: Any) -> Pixels:
        sizes.append(pixels.shape)
        return resizing.resize_pixels(pixels, *args)

    monkeypatch.setattr(images, "resize_pixels", resize_pixels)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = (400, 800) if orientation == 1 else (800, 400)
    body = encode_image(np.zeros((*stored, 3), np.uint8), "JPEG", exif=exif.tobytes())
    assert images.decode_image(body, (3, 400 // divisor, 800 // divisor), resize=ResizePolicy(resize)).max() == 0
    assert sizes == [(400 // scale, 800 // scale, 3)]


@pytest.mark.parametrize(
    ("policy", "scale"),
    [
        (ResizePolicy("crop", 200), 2),
        (ResizePolicy("crop", 100), 4),
        (ResizePolicy("pad"), 8),
        (ResizePolicy("crop"), 4),
    ],
)
def test_the_reduced_size_depends_on_the_whole_scaled_image(
    policy: ResizePolicy, scale: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    scales: list[int] = []
    decode = jpeg_decoding.decode_jpeg

    def record(*args: Any, scale: int, orientation: int) -> Pixels:
        scales.append(scale)
        return decode(*args, scale=scale, orientation=orientation)

    monkeypatch.setattr(jpeg_decoding, "decode_jpeg", record)
    body = encode_image(np.zeros((800, 1600, 3), np.uint8), "JPEG")
    images.decode_image(body, (3, 100, 100), resize=policy)
    assert scales == [scale]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_reduced_jpeg_has_the_pixels_of_the_whole_image(mode: str, progressive: bool) -> None:
    smooth = Image.fromarray(random_pixels(height=24, width=20)).resize((640, 768), Image.Resampling.BICUBIC)
    body = encode_image(smooth.convert(mode), "JPEG", quality=90, progressive=progressive)
    with Image.open(io.BytesIO(body)) as whole:
        expected = np.asarray(whole.convert("RGB").resize((64, 77), Image.Resampling.BOX), int)
    difference = np.abs(images.decode_image(body, (3, 77, 64)).astype(int) - expected)
    assert difference.mean() < 2  # rounding, and the low-pass filter of libjpeg


@pytest.mark.parametrize("share", [0.3, 0.6, 0.97])
def test_a_truncated_jpeg_is_rejected_at_a_reduced_size(share: float) -> None:
    body = encode_image(random_pixels(height=512, width=512), "JPEG")
    with pytest.raises(InvalidImage):
        images.decode_image(body[: int(len(body) * share)], (3, 32, 32))


def test_a_large_jpeg_needs_little_memory_at_a_reduced_size() -> None:
    body = encode_image(Image.new("RGB", (8000, 6000), (90, 120, 30)), "JPEG")
    decoded = run_with_limits(decode_with_raised_limit, body, cpu_s=30, new_bytes=40 * 2**20)
    assert decoded.shape == (224, 224, 3)


def decode_with_raised_limit(body: bytes) -> Pixels:
    """Decode an image of 48 megapixels."""
    return images.decode_image(body, (3, 224, 224), max_pixels=50_000_000)
