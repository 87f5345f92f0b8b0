"""Tensors are changed as arrays are: to the bit where pixels only move, else to a grey level."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
    apply_on_device,
    draw,
    works_on_device,
)
from worker.engine.transforms.rand_augment import CHANGES, FIRST_MOVE
from worker.engine.transforms.rand_augment_tensors import TENSOR_CHANGES
from worker.engine.transforms.warp import warp

MOVING: dict[str, Transform] = {
    "hflip": HorizontalFlip(),
    "vflip": VerticalFlip(0.3),
    "crop": RandomCrop(5),
    "wide_crop": RandomCrop(90),
    "reflect": RandomCrop(5, "reflect"),
    "wide_reflect": RandomCrop(90, "reflect"),  # wider than the picture
    "erasing": RandomErasing(0.7),
    "apply": RandomApply([HorizontalFlip(), RandomCrop(3)]),
    "choice": RandomChoice([VerticalFlip(1.0), RandomErasing(1.0), RandomCrop(2, "reflect")]),
    "order": RandomOrder([RandomErasing(1.0), RandomCrop(4), HorizontalFlip()]),
}
ROUNDING: dict[str, Transform] = {
    "affine": Affine(degrees=30, translate=0.2, scale=(0.8, 1.2)),
    "shear": Affine(shear=30),
    "resized_crop": RandomResizedCrop(),
    "perspective": RandomPerspective(p=0.8),
    "grey": RandomGrayscale(0.5),
    "jitter": ColorJitter(0.4, 0.4, 0.4, 0.1),
    "contrast": ColorJitter(contrast=0.9),
    "rand_augment": RandAugment(num_ops=1, magnitude=7),
    "order_of_affine": RandomOrder([RandomErasing(1.0), Affine(degrees=20), HorizontalFlip()]),
}
NEAREST: dict[str, Transform] = {
    "affine": Affine(degrees=30, translate=0.2, interpolation="nearest"),
    "perspective": RandomPerspective(p=0.8, interpolation="nearest"),
}
ALL = {**MOVING, **ROUNDING, "nearest": NEAREST["affine"], "nearest_perspective": NEAREST["perspective"]}


def smooth(channels: int, count: int = 24, height: int = 33, width: int = 47) -> np.ndarray:
    """Pictures in which neighbours are much the same, of odd sizes."""
    coarse = np.random.default_rng(0).integers(0, 256, (count * channels, 5, 6), dtype=np.uint8)
    fine = np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in coarse])
    return np.ascontiguousarray(fine.reshape(count, channels, height, width).transpose(0, 2, 3, 1))


def both(transform: Transform, images: np.ndarray, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """What becomes of the pictures on the host, and as tensors."""
    draws = draw([transform], len(images), seed, epoch=1)
    changed = apply_on_device([transform], torch.from_numpy(images), draws)
    assert (changed.dtype, changed.shape, changed.is_contiguous()) == (torch.uint8, images.shape, True)
    return transform(images, draws), changed.numpy()


def apart(pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    distances: np.ndarray = np.abs(pair[0].astype(int) - pair[1])
    return distances


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("name", MOVING)
def test_what_moves_pixels_is_equal(name: str, channels: int) -> None:
    images = np.random.default_rng(0).integers(1, 256, (24, 13, 17, channels), dtype=np.uint8)
    host, device = both(MOVING[name], images)
    assert np.array_equal(host, device)
    assert not np.array_equal(host, images)


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("name", ROUNDING)
def test_what_rounds_is_a_grey_level_apart_at_most(name: str, channels: int) -> None:
    distances = apart(both(ROUNDING[name], smooth(channels)))
    at_most = 1 if channels < 6 else 6  # the last two: of two channels, OpenCV knows places to a 32nd of a pixel
    assert distances.max() <= at_most
    assert distances.mean() < 0.1


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("name", NEAREST)
def test_the_nearest_pixel_is_the_same_one_but_for_a_few(name: str, channels: int) -> None:
    assert (apart(both(NEAREST[name], smooth(channels))) > 0).mean() < 1e-3


def test_several_changes_of_a_policy_stay_close() -> None:
    """A step of equalising or solarising may widen what was one level apart."""
    distances = apart(both(RandAugment(num_ops=3, magnitude=7), smooth(3)))
    assert distances.mean() < 0.05
    assert (distances > 1).mean() < 2e-3


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([*MOVING.values(), ROUNDING["affine"], ROUNDING["perspective"], ROUNDING["resized_crop"]]),
    st.tuples(st.integers(1, 5), st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3, 4])),
    st.integers(0, 2**32),
)
def test_images_of_any_size_are_changed_as_on_the_host(transform: Transform, shape: tuple[int, ...], seed: int) -> None:
    """Of noise, where a picture's neighbours are as far apart as can be."""
    images = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    distances = apart(both(transform, images, seed))
    assert distances.max() <= (0 if transform in MOVING.values() else 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_an_images_change_does_not_depend_on_its_batch(name: str, channels: int) -> None:
    images, transform = torch.from_numpy(smooth(channels)), ALL[name]
    before = images.clone()
    draws = draw([transform], len(images), seed=3, epoch=1)
    whole = apply_on_device([transform], images, draws)
    order = np.random.default_rng(1).permutation(len(images))
    parts = [apply_on_device([transform], images[part], draws[part]) for part in np.array_split(order, 5)]
    assert torch.equal(whole[order], torch.cat(parts))
    assert torch.equal(images, before)


def test_each_of_several_has_draws_of_its_own() -> None:
    several: list[Transform] = [HorizontalFlip(), RandomCrop(3), RandomErasing()]
    images = smooth(3)
    draws = draw(several, len(images), 0, 0)
    found = apply_on_device(several, torch.from_numpy(images), draws)
    assert np.array_equal(found.numpy(), apply(several, images, draws))


@pytest.mark.parametrize("level", [-1.0, -0.3, 0.0, 0.7, 1.0])
@pytest.mark.parametrize("place", range(FIRST_MOVE))
def test_every_change_of_the_policy_is_that_of_the_host(place: int, level: float) -> None:
    images = smooth(3)
    images[0] = 77  # flat: nothing to level
    images[1, :, :, 2] = 0
    levels = torch.full((len(images), 1, 1, 1), level)
    host = np.stack([CHANGES[place](picture, level) for picture in images])
    assert apart((host, TENSOR_CHANGES[place](torch.from_numpy(images), levels).numpy())).max() <= 1


def test_a_map_onto_a_line_leaves_numbers() -> None:
    images = torch.full((2, 5, 5, 1), 200, dtype=torch.uint8)
    flat = np.array([[[0.0, 0.0, 2.0], [0.0, 0.0, 2.0]]] * 2)
    assert warp(images, flat).shape == images.shape


def test_what_has_a_part_for_the_host_alone_is_for_the_host_alone() -> None:
    class OnTheHost:
        num_draws = 0

        def __call__(self, images: np.ndarray, draws: np.ndarray) -> np.ndarray:
            return images

    assert all(works_on_device(transform) for transform in ALL.values())
    inner = RandomApply([HorizontalFlip(), OnTheHost()], 1.0)
    assert not any(works_on_device(transform) for transform in (OnTheHost(), inner, RandomOrder([inner])))
    with pytest.raises(TypeError, match="OnTheHost works on the host alone"):
        apply_on_device([inner], torch.zeros((1, 2, 2, 1), dtype=torch.uint8), np.zeros((1, 2), np.float32))
