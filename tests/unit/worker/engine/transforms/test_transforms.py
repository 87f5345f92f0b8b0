"""Transforms change each picture by its own numbers, wherever in a batch it lies."""

import numpy as np
import pytest

from worker.engine.transforms import Affine, HorizontalFlip, RandomCrop, Transform, VerticalFlip, apply, draw

ALL: list[Transform] = [
    HorizontalFlip(),
    VerticalFlip(),
    Affine(degrees=30, translate=0.2, scale=(0.8, 1.2)),
    Affine(degrees=10, interpolation="nearest"),
    RandomCrop(padding=2),
    RandomCrop(padding=2, mode="reflect"),
]


def pictures(channels: int = 3, count: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 10, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("transform", ALL, ids=["hflip", "vflip", "affine", "nearest", "crop", "reflect"])
def test_a_pictures_change_does_not_depend_on_its_batch(transform: Transform, channels: int) -> None:
    images = pictures(channels)
    draws = draw([transform], len(images), seed=3, epoch=1)
    whole = transform(images, draws)
    order = np.random.default_rng(1).permutation(len(images))
    parts = [transform(images[part], draws[part]) for part in np.array_split(order, 5)]
    assert np.array_equal(whole[order], np.concatenate(parts))
    assert whole.shape == images.shape
    assert whole.dtype == np.uint8
    assert not np.array_equal(whole, images)


def test_the_source_is_left_as_it_was() -> None:
    images = pictures()
    before = images.copy()
    apply(ALL, images, draw(ALL, len(images), 0, 0))
    assert np.array_equal(images, before)


def test_rows_are_a_matter_of_seed_and_epoch() -> None:
    assert np.array_equal(draw(ALL, 5, 1, 2), draw(ALL, 5, 1, 2))
    assert not np.array_equal(draw(ALL, 5, 1, 2), draw(ALL, 5, 1, 3))
    assert not np.array_equal(draw(ALL, 5, 1, 2), draw(ALL, 5, 2, 2))
    assert np.array_equal(draw(ALL, 5, 1, 2), draw(ALL, 9, 1, 2)[:5])


def test_flips_mirror() -> None:
    images = pictures()
    always, never = np.zeros((12, 1), np.float32), np.full((12, 1), 0.999, np.float32)
    assert np.array_equal(HorizontalFlip(0.5)(images, always), images[:, :, ::-1])
    assert np.array_equal(VerticalFlip(0.5)(images, always), images[:, ::-1])
    assert np.array_equal(HorizontalFlip(0.5)(images, never), images)


def middle(*rest: float) -> np.ndarray:
    """0.5 means: no change."""
    return np.array([[0.5, 0.5, 0.5, 0.5][: 4 - len(rest)] + list(rest)], np.float32)


def test_affine_in_the_middle_of_its_range_changes_nothing() -> None:
    image = pictures(count=1)
    assert np.array_equal(Affine(degrees=90, translate=0.5)(image, middle()), image)


def test_affine_shifts_right_and_down_and_fills_with_black() -> None:
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[0, 0, 0] = 200
    moved = Affine(translate=0.25)(image, np.array([[0.5, 1.0, 0.75, 0.5]], np.float32))
    assert np.argwhere(moved[0, :, :, 0] == 200).tolist() == [[1, 2]]
    assert int(moved.sum()) == 200


def test_affine_turns_against_the_clock() -> None:
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[0, 0, 7] = 200  # top right
    turned = Affine(degrees=90)(image, np.array([[1.0, 0.5, 0.5, 0.5]], np.float32))
    assert np.argwhere(turned[0, :, :, 0] > 150).tolist() == [[0, 0]]


def test_random_crop_reaches_every_corner() -> None:
    image = pictures(count=1)
    crop = RandomCrop(padding=1)
    first = crop(image, np.array([[0.0, 0.0]], np.float32))
    assert np.array_equal(first[0, 1:, 1:], image[0, :-1, :-1])
    assert not first[0, 0].any()
    last = crop(image, np.array([[0.9999, 0.9999]], np.float32))
    assert np.array_equal(last[0, :-1, :-1], image[0, 1:, 1:])
