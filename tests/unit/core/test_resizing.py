"""Resizing of decoded images. The recipes of published networks give the same pixels as torchvision."""

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

from core.pixel_conversion import Pixels
from core.resizing import STRETCH, ResizePolicy, compute_scaled_size, resize_pixels
from tests.support.cpu_limit import run_with_limits
from tests.support.images import random_pixels

POLICIES = (
    ResizePolicy("stretch"),
    ResizePolicy("crop"),
    ResizePolicy("pad", pad_color=(9, 8, 7)),
    ResizePolicy("crop", 40),
)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("interpolation", ["area", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(60, 90), (90, 60), (10, 12), (1, 200), (200, 1), (32, 24)])
@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_every_policy_gives_the_target_size(
    policy: ResizePolicy, interpolation: str, size: tuple[int, int], shape: tuple[int, ...]
) -> None:
    pixels = np.full((*size, *shape), 100, np.uint8)
    resized = resize_pixels(pixels, 32, 24, policy._replace(interpolation=interpolation))
    assert (resized.shape[:2], resized.dtype.name) == ((32, 24), "uint8")
    assert set(np.unique(resized)) <= {100, *(policy.pad_color if policy.mode == "pad" else ())}


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(300, 401), (401, 300), (120, 97), (64, 64), (33, 500)])
def test_a_shorter_side_gives_the_pixels_of_torchvision(interpolation: str, size: tuple[int, int]) -> None:
    pixels = random_pixels(1, *size)
    recipe = Compose([Resize(64, InterpolationMode(interpolation)), CenterCrop(56)])
    expected = np.asarray(recipe(Image.fromarray(pixels)), int)
    resized = resize_pixels(pixels, 56, 56, ResizePolicy("crop", 64, interpolation=interpolation))
    assert np.abs(resized.astype(int) - expected).max() <= 1  # rounding of the edges of the crop


def test_a_shorter_side_crops_more_than_a_crop_alone() -> None:
    frame = np.zeros((80, 80, 3), np.uint8)
    frame[8:72, 8:72] = 200
    assert resize_pixels(frame, 40, 40, ResizePolicy("crop")).min() == 0
    assert resize_pixels(frame, 40, 40, ResizePolicy("crop", 50)).min() == 200  # 40 / 50 of 80 pixels


def test_padding_keeps_the_aspect_ratio_and_centers_the_image() -> None:
    white = np.full((10, 40, 3), 255, np.uint8)
    padded = resize_pixels(white, 20, 20, ResizePolicy("pad", pad_color=(10, 20, 30)))
    assert (padded[7:12] == 255).all()
    assert padded[6].tolist() == padded[12].tolist() == padded[0].tolist() == [[10, 20, 30]] * 20
    grey = resize_pixels(white[..., 0], 20, 20, ResizePolicy("pad", pad_color=(10, 20, 30)))
    assert grey[0, 0] == np.asarray(Image.new("RGB", (1, 1), (10, 20, 30)).convert("L"))[0, 0]


def test_the_interpolation_changes_the_pixels() -> None:
    pixels = random_pixels(1, 50, 70)
    results = {
        resize_pixels(pixels, 32, 24, ResizePolicy("stretch", interpolation=name)).tobytes()
        for name in ("area", "bilinear", "bicubic")
    }
    assert len(results) == 3


def test_an_image_of_the_target_size_is_unchanged_unless_it_is_cropped() -> None:
    pixels = random_pixels(1, 32, 24)
    for policy in POLICIES[:3]:
        np.testing.assert_array_equal(resize_pixels(pixels, 32, 24, policy), pixels)
    assert (resize_pixels(pixels, 32, 24, POLICIES[3]) != pixels).any()


def test_an_unknown_mode_is_rejected() -> None:
    with pytest.raises(ValueError, match="resize must be stretch, crop or pad, got 'none'"):
        resize_pixels(random_pixels(), 5, 5, ResizePolicy("none"))


@pytest.mark.parametrize("size", [(1, 5_000_000), (5_000_000, 1)])
@pytest.mark.parametrize("policy", [*POLICIES, ResizePolicy("stretch", interpolation="bicubic")])
def test_extreme_aspect_ratios_need_little_memory(size: tuple[int, int], policy: ResizePolicy) -> None:
    pixels = np.full(size, 7, np.uint8)
    resized: Pixels = run_with_limits(resize_pixels, pixels, 1000, 1000, _enlarge(policy), cpu_s=5, new_bytes=2**28)
    assert 7 in resized
    assert set(np.unique(resized)) <= {7, 8}  # 8: the luma of the padding


def _enlarge(policy: ResizePolicy) -> ResizePolicy:
    return policy._replace(shorter_side=policy.shorter_side and 1200)


def test_the_scaled_size_is_that_of_the_whole_image() -> None:
    assert compute_scaled_size((100, 200), (50, 50), STRETCH) == (50, 50)
    assert compute_scaled_size((100, 200), (50, 50), ResizePolicy("crop", 64)) == (64, 128)
    assert compute_scaled_size((200, 100), (50, 50), ResizePolicy("crop", 64)) == (128, 64)
    assert compute_scaled_size((100, 200), (50, 50), ResizePolicy("pad")) == (25, 50)
    assert compute_scaled_size((1, 10_000), (50, 50), ResizePolicy("pad")) == (1, 50)


def test_old_metadata_has_the_defaults() -> None:
    assert ResizePolicy.from_dict({"resize": "crop"}) == ResizePolicy("crop")
    for policy in POLICIES:
        assert ResizePolicy.from_dict(policy.to_dict()) == policy


def test_the_options_of_a_policy_are_named_as_for_an_import() -> None:
    assert STRETCH.format_options((24, 32)) == "image_size=24x32, resize=stretch, interpolation=area"
    policy = ResizePolicy("pad", pad_color=(255, 0, 16), interpolation="bicubic")
    assert policy.format_options((8, 8)) == "image_size=8, resize=pad, pad_color=#ff0010, interpolation=bicubic"
    assert "resize_shorter_side=256" in ResizePolicy("crop", 256).format_options((224, 224))
