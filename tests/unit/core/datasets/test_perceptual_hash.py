"""Perceptual hashes: the transform, the median, and what changes few bits."""

import cv2
import numpy as np
import pytest

from core.datasets.perceptual_hash import (
    HASH_SIDE,
    build_pooling,
    compute_hashes,
    count_different_bits,
    pool_images,
)
from tests.support.near_images import build_images


@pytest.mark.parametrize("shape", [(64, 64), (32, 96)])
def test_pooling_equals_opencv_for_whole_factors(shape: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, *shape, 3)).astype(np.uint8)
    expected = [
        cv2.resize(image.astype(np.float32), (HASH_SIDE, HASH_SIDE), interpolation=cv2.INTER_AREA) for image in images
    ]
    np.testing.assert_allclose(pool_images(images, HASH_SIDE), expected, atol=1e-3)


def test_pooling_counts_divided_pixels_by_their_part() -> None:
    np.testing.assert_allclose(build_pooling(3, 2), [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]], rtol=1e-6)
    np.testing.assert_allclose(build_pooling(2, 4), [[1, 0], [1, 0], [0, 1], [0, 1]])


def test_a_hash_has_the_bits_of_the_lowest_frequencies() -> None:
    image = build_images(1)[0, ..., 0]
    frequencies = cv2.dct(image.astype(np.float32))[:8, :8].reshape(-1)
    bits = frequencies > np.median(frequencies)
    expected = sum(1 << (63 - place) for place, bit in enumerate(bits.tolist()) if bit)
    assert compute_hashes(image[None, ..., None].astype(np.float32)).tolist() == [expected]


def test_color_images_are_hashed_by_their_luma() -> None:
    color = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    grey = color @ np.asarray([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_array_equal(compute_hashes(color), compute_hashes(grey[..., None]))


def test_constant_images_have_equal_hashes() -> None:
    constants = np.stack([np.full((32, 32, 1), level, np.float32) for level in (1, 100, 255)])
    assert len(np.unique(compute_hashes(constants))) == 1


def test_noise_changes_few_bits_and_another_image_many() -> None:
    images = build_images(20)
    noise = np.random.default_rng(2).normal(0, 3, images.shape)
    noisy = np.clip(images + noise, 0, 255).astype(np.uint8)
    hashes, others = (compute_hashes(pool_images(each, HASH_SIDE)) for each in (images, noisy))
    assert count_different_bits(hashes, others).max() <= 6
    assert count_different_bits(hashes[:-1], hashes[1:]).mean() > 20


def test_the_distance_counts_different_bits() -> None:
    first, second = np.asarray([0, 0b1011, 2**63], np.uint64), np.asarray([0, 0b0010, 1], np.uint64)
    assert count_different_bits(first, second).tolist() == [0, 2, 2]
