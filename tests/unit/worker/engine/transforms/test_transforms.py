"""Tests of transforms on the host."""

import numpy as np
import pytest

from worker.engine.transforms import (
    Affine,
    AlternatingFlip,
    ColorJitter,
    Cutout,
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
    apply_transforms,
    draw_random_params,
)
from worker.engine.transforms.rand_augment import IMAGE_OPS

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
    AlternatingFlip(),
    Cutout(size=4),
]
NAMES = ["hflip", "vflip", "affine", "nearest", "crop", "reflect", "resized_crop", "erasing", "jitter", "rand_augment"]
NAMES += ["shear", "perspective", "apply", "choice", "order", "alternating_flip", "cutout"]


def make_images(channels: int = 3, count: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 8, 10, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("transform", ALL, ids=NAMES)
def test_augmentation_does_not_depend_on_the_batch(transform: Transform, channels: int) -> None:
    images = make_images(channels)
    random_params = draw_random_params([transform], len(images), seed=3, epoch=1)
    whole = transform(images, random_params)
    order = np.random.default_rng(1).permutation(len(images))
    parts = [transform(images[part], random_params[part]) for part in np.array_split(order, 5)]
    assert np.array_equal(whole[order], np.concatenate(parts))
    assert whole.shape == images.shape
    assert whole.dtype == np.uint8
    assert not np.array_equal(whole, images)


def test_source_images_are_not_modified_in_place() -> None:
    images = make_images()
    before = images.copy()
    apply_transforms(ALL, images, draw_random_params(ALL, len(images), 0, 0))
    assert np.array_equal(images, before)


def test_random_params_depend_on_seed_and_epoch() -> None:
    assert np.array_equal(draw_random_params(ALL, 5, 1, 2), draw_random_params(ALL, 5, 1, 2))
    assert not np.array_equal(draw_random_params(ALL, 5, 1, 2), draw_random_params(ALL, 5, 1, 3))
    assert not np.array_equal(draw_random_params(ALL, 5, 1, 2), draw_random_params(ALL, 5, 2, 2))
    assert np.array_equal(draw_random_params(ALL, 5, 1, 2), draw_random_params(ALL, 9, 1, 2)[:5])


def test_flips_mirror_images() -> None:
    images = make_images()
    always, never = np.zeros((12, 1), np.float32), np.full((12, 1), 0.999, np.float32)
    assert np.array_equal(HorizontalFlip(0.5)(images, always), images[:, :, ::-1])
    assert np.array_equal(VerticalFlip(0.5)(images, always), images[:, ::-1])
    assert np.array_equal(HorizontalFlip(0.5)(images, never), images)


@pytest.mark.parametrize("before", [[], [RandomCrop(2), ColorJitter(0.2)]], ids=["alone", "after others"])
def test_alternating_flip_shows_both_sides_in_two_epochs(before: list[Transform]) -> None:
    transforms = [*before, AlternatingFlip()]
    columns = [draw_random_params(transforms, 400, 7, epoch)[:, -1:] for epoch in (1, 2, 3)]
    images = np.repeat(make_images(count=1), 400, axis=0)
    flipped = [(AlternatingFlip()(images, one) != images).any(axis=(1, 2, 3)) for one in columns]
    assert np.array_equal(flipped[0], ~flipped[1])
    assert np.array_equal(flipped[0], flipped[2])
    assert 150 < flipped[0].sum() < 250
    assert not np.array_equal(columns[0], draw_random_params(transforms, 400, 8, 1)[:, -1:])


def make_midrange_params(*rest: float) -> np.ndarray:
    """Return parameters of 0.5, which mean no change."""
    return np.array([[0.5, 0.5, 0.5, 0.5][: 4 - len(rest)] + list(rest)], np.float32)


def test_affine_with_midrange_params_is_the_identity() -> None:
    image = make_images(count=1)
    assert np.array_equal(Affine(degrees=90, translate=0.5)(image, make_midrange_params()), image)


def test_affine_shifts_right_and_down_and_fills_with_black() -> None:
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[0, 0, 0] = 200
    moved = Affine(translate=0.25)(image, np.array([[0.5, 1.0, 0.75, 0.5]], np.float32))
    assert np.argwhere(moved[0, :, :, 0] == 200).tolist() == [[1, 2]]
    assert int(moved.sum()) == 200


def test_affine_rotates_counterclockwise() -> None:
    image = np.zeros((1, 8, 8, 1), np.uint8)
    image[0, 0, 7] = 200  # top right
    turned = Affine(degrees=90)(image, np.array([[1.0, 0.5, 0.5, 0.5]], np.float32))
    assert np.argwhere(turned[0, :, :, 0] > 150).tolist() == [[0, 0]]


def test_random_crop_reaches_every_corner() -> None:
    image = make_images(count=1)
    crop = RandomCrop(padding=1)
    first = crop(image, np.array([[0.0, 0.0]], np.float32))
    assert np.array_equal(first[0, 1:, 1:], image[0, :-1, :-1])
    assert not first[0, 0].any()
    last = crop(image, np.array([[0.9999, 0.9999]], np.float32))
    assert np.array_equal(last[0, :-1, :-1], image[0, 1:, 1:])


def test_color_jitter_zero_is_the_identity() -> None:
    images = make_images()
    assert np.array_equal(ColorJitter()(images, draw_random_params([ColorJitter()], len(images), 0, 0)), images)


def test_brightness_and_contrast_scale_pixel_values() -> None:
    images = make_images()
    most = np.full((len(images), 4), 1.0, dtype=np.float32)
    brighter = ColorJitter(brightness=0.5)(images, most)
    assert np.array_equal(brighter, np.clip(np.rint(images * np.float32(1.5)), 0, 255))
    flat = ColorJitter(contrast=1.0)(images, np.zeros_like(most))  # contrast 0 gives the mean gray
    assert all(len(np.unique(image)) == 1 for image in flat)


def test_hue_rotated_half_a_turn_twice_is_the_identity_and_gray_stays_gray() -> None:
    middle = (make_images() // 4 + 96).astype(np.uint8)  # far from black and white, where colors would be clipped
    half = np.full((len(middle), 4), 1.0, dtype=np.float32)
    turned = ColorJitter(hue=0.5)(middle, half)
    assert np.abs(turned.astype(int) - middle).max() > 10
    assert np.abs(ColorJitter(hue=0.5)(turned, half).astype(int) - middle).max() <= 2
    grey = np.repeat(make_images(1), 3, axis=3)
    assert np.abs(ColorJitter(hue=0.5, saturation=1.0)(grey, half).astype(int) - grey).max() <= 1


def test_random_erasing_blackens_a_box_with_the_requested_area() -> None:
    images = np.full((400, 20, 20, 1), 255, dtype=np.uint8)
    erasing = RandomErasing(p=0.25, scale=(0.1, 0.2), ratio=(1.0, 1.0))
    black = (erasing(images, draw_random_params([erasing], len(images), 0, 0)) == 0).mean(axis=(1, 2, 3))
    assert (black > 0).mean() == pytest.approx(0.25, abs=0.05)
    assert 0.08 <= black[black > 0].min() < black.max() <= 0.22


def test_cutout_blackens_a_square_around_its_center() -> None:
    images = np.full((3, 10, 10, 1), 255, dtype=np.uint8)
    random_params = np.array([[0.5, 0.59], [0.0, 0.0], [0.999, 0.999]], np.float32)
    black = Cutout(size=4)(images, random_params)[..., 0] == 0
    assert [np.argwhere(one).min(axis=0).tolist() for one in black] == [[3, 3], [0, 0], [7, 7]]
    assert [int(one.sum()) for one in black] == [16, 4, 9]


def test_full_crop_is_the_identity_and_small_crop_is_magnified_up() -> None:
    images = make_images()
    random_params = draw_random_params([RandomResizedCrop()], len(images), 0, 0)
    assert np.array_equal(RandomResizedCrop(scale=(1.0, 1.0), ratio=(0.8, 0.8))(images, random_params), images)
    pixel = RandomResizedCrop(scale=(0.001, 0.001))(images, random_params)
    assert all(len(np.unique(image.reshape(-1, 3), axis=0)) == 1 for image in pixel)


@pytest.mark.parametrize("change", range(1, len(IMAGE_OPS)))
def test_every_rand_augment_op_keeps_the_shape_and_changes_the_image(change: int) -> None:
    for image in make_images(3, count=2):
        changed = IMAGE_OPS[change](image, 0.7)
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
        assert not np.array_equal(changed, image)


def test_rand_augment_with_magnitude_zero_only_equalizes_levels() -> None:
    image = make_images(3, count=1)[0]
    levelled = {7, 8}  # autocontrast and equalize have no strength
    unchanged = [i for i, change in enumerate(IMAGE_OPS) if np.array_equal(change(image, 0.0), image)]
    assert set(range(len(IMAGE_OPS))) - set(unchanged) <= levelled


def test_shear_slants_vertical_lines() -> None:
    images = np.zeros((1, 9, 9, 1), np.uint8)
    images[0, :, 4] = 255
    right = Affine(shear=45, interpolation="nearest")(images, np.array([[0.5, 0.5, 0.5, 0.5, 1.0]], np.float32))
    assert np.array_equal(right[0, :, :, 0] > 0, np.eye(9, dtype=bool))
    still = Affine(shear=45)(images, np.full((1, 5), 0.5, np.float32))
    assert np.array_equal(still, images)


def test_random_perspective_moves_corners_inwards() -> None:
    images = np.full((1, 16, 16, 3), 200, np.uint8)
    all_in = np.array([[0.0] + [1.0] * 8], np.float32)
    halved = RandomPerspective(distortion=0.5)(images, all_in)[0, :, :, 0]
    assert halved[8, 8] == 200
    assert not halved[0].any()
    assert not halved[:, -1].any()
    assert (halved > 0).mean() == pytest.approx(0.25, abs=0.1)  # each side is half as long
    none_in = np.zeros((1, 9), np.float32)
    assert np.array_equal(RandomPerspective()(images, none_in), images)


def test_random_grayscale_removes_color_from_some_images() -> None:
    images = make_images()
    random_params = np.array([[0.05], [0.5]] * 6, np.float32)
    changed = RandomGrayscale(0.1)(images, random_params)
    assert np.array_equal(changed[1::2], images[1::2])
    assert np.array_equal(changed[::2, ..., 0], changed[::2, ..., 2])
    assert np.allclose(changed[::2, ..., 1], images[::2] @ np.array([0.299, 0.587, 0.114]), atol=1)


def test_random_apply_applies_all_parts_or_none() -> None:
    images = make_images()
    random_params = draw_random_params([RandomApply([HorizontalFlip(1.0), VerticalFlip(1.0)], 0.3)], 12, 0, 1)
    changed = RandomApply([HorizontalFlip(1.0), VerticalFlip(1.0)], 0.3)(images, random_params)
    chosen = random_params[:, 0] < 0.3
    assert 0 < chosen.sum() < 12
    assert np.array_equal(changed[chosen], images[chosen][:, ::-1, ::-1])
    assert np.array_equal(changed[~chosen], images[~chosen])


def test_random_choice_applies_every_part_equally_often() -> None:
    images = np.repeat(make_images(count=1), 3000, axis=0)
    transform = RandomChoice([HorizontalFlip(1.0), VerticalFlip(1.0), HorizontalFlip(0.0)])
    changed = transform(images, draw_random_params([transform], 3000, 0, 1))
    candidates = [images[0][:, ::-1], images[0][::-1], images[0]]
    counts = [int((changed == candidate).all(axis=(1, 2, 3)).sum()) for candidate in candidates]
    assert sum(counts) == 3000
    assert min(counts) > 900


def test_random_order_applies_parts_in_every_order() -> None:
    class Add:
        num_random_params = 0

        def __call__(self, images: np.ndarray, random_params: np.ndarray) -> np.ndarray:
            return (images + 1).astype(np.uint8)

    class Double(Add):
        def __call__(self, images: np.ndarray, random_params: np.ndarray) -> np.ndarray:
            return (images * 2).astype(np.uint8)

    transform = RandomOrder([Add(), Double()])
    threes = np.full((100, 2, 2, 1), 3, np.uint8)
    changed = transform(threes, draw_random_params([transform], 100, 0, 1))
    assert set(changed.flatten().tolist()) == {8, 7}
    assert 30 < (changed[:, 0, 0, 0] == 8).sum() < 70
