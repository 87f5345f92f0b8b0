"""Transforms change each picture by its own numbers, wherever in a batch it lies."""

import numpy as np
import pytest

from worker.engine.transforms import (
    Affine,
    ColorJitter,
    HorizontalFlip,
    RandAugment,
    RandomApply,
    RandomChoice,
    RandomCrop,
    RandomErasing,
    RandomGrayscale,
    RandomOrder,
    RandomPerspective,
    RandomResizedCrop,
    Transform,
    VerticalFlip,
    apply,
    draw,
)
from worker.engine.transforms.rand_augment import CHANGES

ALL: list[Transform] = [
    HorizontalFlip(),
    VerticalFlip(),
    Affine(degrees=30, translate=0.2, scale=(0.8, 1.2)),
    Affine(degrees=10, interpolation="nearest"),
    RandomCrop(padding=2),
    RandomCrop(padding=2, mode="reflect"),
    RandomResizedCrop(),
    RandomErasing(),
    ColorJitter(0.4, 0.4, 0.4, 0.1),
    RandAugment(num_ops=3, magnitude=7),
    Affine(shear=30),
    RandomPerspective(),
    RandomApply([HorizontalFlip(), Affine(degrees=20)]),
    RandomChoice([VerticalFlip(1.0), RandomErasing(1.0), Affine(degrees=20)]),
    RandomOrder([RandomErasing(1.0), Affine(degrees=20), HorizontalFlip()]),
]
NAMES = ["hflip", "vflip", "affine", "nearest", "crop", "reflect", "resized_crop", "erasing", "jitter", "rand_augment"]
NAMES += ["shear", "perspective", "apply", "choice", "order"]


def pictures(channels: int = 3, count: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 10, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("transform", ALL, ids=NAMES)
def test_an_images_change_does_not_depend_on_its_batch(transform: Transform, channels: int) -> None:
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


def test_a_jitter_of_nothing_changes_nothing() -> None:
    images = pictures()
    assert np.array_equal(ColorJitter()(images, draw([ColorJitter()], len(images), 0, 0)), images)


def test_brightness_and_contrast_are_factors() -> None:
    images = pictures()
    most = np.full((len(images), 4), 1.0, dtype=np.float32)
    brighter = ColorJitter(brightness=0.5)(images, most)
    assert np.array_equal(brighter, np.clip(np.rint(images * np.float32(1.5)), 0, 255))
    flat = ColorJitter(contrast=1.0)(images, np.zeros_like(most))  # a contrast of 0 leaves the mean grey
    assert all(len(np.unique(picture)) == 1 for picture in flat)


def test_a_hue_turned_half_way_twice_is_the_same_and_grey_stays_grey() -> None:
    middle = (pictures() // 4 + 96).astype(np.uint8)  # far from black and white, where colours would be cut
    half = np.full((len(middle), 4), 1.0, dtype=np.float32)
    turned = ColorJitter(hue=0.5)(middle, half)
    assert np.abs(turned.astype(int) - middle).max() > 10
    assert np.abs(ColorJitter(hue=0.5)(turned, half).astype(int) - middle).max() <= 2
    grey = np.repeat(pictures(1), 3, axis=3)
    assert np.abs(ColorJitter(hue=0.5, saturation=1.0)(grey, half).astype(int) - grey).max() <= 1


def test_erasing_blackens_a_box_of_the_wished_area_in_a_share_of_the_images() -> None:
    images = np.full((400, 20, 20, 1), 255, dtype=np.uint8)
    erasing = RandomErasing(p=0.25, scale=(0.1, 0.2), ratio=(1.0, 1.0))
    black = (erasing(images, draw([erasing], len(images), 0, 0)) == 0).mean(axis=(1, 2, 3))
    assert (black > 0).mean() == pytest.approx(0.25, abs=0.05)
    assert 0.08 <= black[black > 0].min() < black.max() <= 0.22


def test_a_crop_of_everything_is_the_image_and_a_small_one_is_magnified() -> None:
    images = pictures()
    draws = draw([RandomResizedCrop()], len(images), 0, 0)
    assert np.array_equal(RandomResizedCrop(scale=(1.0, 1.0), ratio=(0.8, 0.8))(images, draws), images)
    pixel = RandomResizedCrop(scale=(0.001, 0.001))(images, draws)
    assert all(len(np.unique(picture.reshape(-1, 3), axis=0)) == 1 for picture in pixel)


@pytest.mark.parametrize("change", range(1, len(CHANGES)))
def test_every_change_of_the_policy_keeps_the_form_and_does_something(change: int) -> None:
    for picture in pictures(3, count=2):
        changed = CHANGES[change](picture, 0.7)
        assert changed.shape == picture.shape
        assert changed.dtype == np.uint8
        assert not np.array_equal(changed, picture)


def test_a_policy_without_strength_only_levels() -> None:
    picture = pictures(3, count=1)[0]
    levelled = {7, 8}  # autocontrast and equalize have no strength
    unchanged = [i for i, change in enumerate(CHANGES) if np.array_equal(change(picture, 0.0), picture)]
    assert set(range(len(CHANGES))) - set(unchanged) <= levelled


def test_a_shear_slants_lines_that_stand() -> None:
    images = np.zeros((1, 9, 9, 1), np.uint8)
    images[0, :, 4] = 255
    right = Affine(shear=45, interpolation="nearest")(images, np.array([[0.5, 0.5, 0.5, 0.5, 1.0]], np.float32))
    assert np.array_equal(right[0, :, :, 0] > 0, np.eye(9, dtype=bool))
    still = Affine(shear=45)(images, np.full((1, 5), 0.5, np.float32))
    assert np.array_equal(still, images)


def test_a_perspective_moves_corners_inwards() -> None:
    images = np.full((1, 16, 16, 3), 200, np.uint8)
    all_in = np.array([[0.0] + [1.0] * 8], np.float32)
    halved = RandomPerspective(distortion=0.5)(images, all_in)[0, :, :, 0]
    assert halved[8, 8] == 200
    assert not halved[0].any()
    assert not halved[:, -1].any()
    assert (halved > 0).mean() == pytest.approx(0.25, abs=0.1)  # each side is half as long
    none_in = np.zeros((1, 9), np.float32)
    assert np.array_equal(RandomPerspective()(images, none_in), images)


def test_colours_are_taken_out_of_some() -> None:
    images = pictures()
    draws = np.array([[0.05], [0.5]] * 6, np.float32)
    changed = RandomGrayscale(0.1)(images, draws)
    assert np.array_equal(changed[1::2], images[1::2])
    assert np.array_equal(changed[::2, ..., 0], changed[::2, ..., 2])
    assert np.allclose(changed[::2, ..., 1], images[::2] @ np.array([0.299, 0.587, 0.114]), atol=1)


def test_all_parts_are_applied_or_none() -> None:
    images = pictures()
    draws = draw([RandomApply([HorizontalFlip(1.0), VerticalFlip(1.0)], 0.3)], 12, 0, 1)
    changed = RandomApply([HorizontalFlip(1.0), VerticalFlip(1.0)], 0.3)(images, draws)
    chosen = draws[:, 0] < 0.3
    assert 0 < chosen.sum() < 12
    assert np.array_equal(changed[chosen], images[chosen][:, ::-1, ::-1])
    assert np.array_equal(changed[~chosen], images[~chosen])


def test_one_part_is_chosen_each_as_often() -> None:
    images = np.repeat(pictures(count=1), 3000, axis=0)
    transform = RandomChoice([HorizontalFlip(1.0), VerticalFlip(1.0), HorizontalFlip(0.0)])
    changed = transform(images, draw([transform], 3000, 0, 1))
    candidates = [images[0][:, ::-1], images[0][::-1], images[0]]
    counts = [int((changed == candidate).all(axis=(1, 2, 3)).sum()) for candidate in candidates]
    assert sum(counts) == 3000
    assert min(counts) > 900


def test_parts_are_applied_in_any_order() -> None:
    class Add:
        num_draws = 0

        def __call__(self, images: np.ndarray, draws: np.ndarray) -> np.ndarray:
            return (images + 1).astype(np.uint8)

    class Double(Add):
        def __call__(self, images: np.ndarray, draws: np.ndarray) -> np.ndarray:
            return (images * 2).astype(np.uint8)

    transform = RandomOrder([Add(), Double()])
    threes = np.full((100, 2, 2, 1), 3, np.uint8)
    changed = transform(threes, draw([transform], 100, 0, 1))
    assert set(changed.flatten().tolist()) == {8, 7}
    assert 30 < (changed[:, 0, 0, 0] == 8).sum() < 70
