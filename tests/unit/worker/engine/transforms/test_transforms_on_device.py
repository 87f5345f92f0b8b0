"""Tests that transforms of tensors match those of arrays: exactly if pixels only move, else to one gray level."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
    apply_transforms_on_device,
    draw_random_params,
    supports_device,
)
from worker.engine.transforms.rand_augment import FIRST_AFFINE_OP, IMAGE_OPS
from worker.engine.transforms.rand_augment_tensors import TENSOR_OPS
from worker.engine.transforms.warp import warp_images

MOVING: dict[str, Transform] = {
    "hflip": HorizontalFlip(),
    "vflip": VerticalFlip(0.3),
    "crop": RandomCrop(5),
    "wide_crop": RandomCrop(90),
    "reflect": RandomCrop(5, "reflect"),
    "wide_reflect": RandomCrop(90, "reflect"),  # wider than the image
    "erasing": RandomErasing(0.7),
    "alternating_flip": AlternatingFlip(),
    "cutout": Cutout(11),
    "wide_cutout": Cutout(90),
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


def make_smooth_images(channels: int, count: int = 24, height: int = 33, width: int = 47) -> np.ndarray:
    """Return images of odd sizes whose neighboring pixels are similar."""
    coarse = np.random.default_rng(0).integers(0, 256, (count * channels, 5, 6), dtype=np.uint8)
    fine = np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in coarse])
    return np.ascontiguousarray(fine.reshape(count, channels, height, width).transpose(0, 2, 3, 1))


def apply_on_host_and_device(transform: Transform, images: np.ndarray, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return the images transformed on the host and as tensors."""
    random_params = draw_random_params([transform], len(images), seed, epoch=1)
    changed = apply_transforms_on_device([transform], torch.from_numpy(images), random_params)
    assert (changed.dtype, changed.shape, changed.is_contiguous()) == (torch.uint8, images.shape, True)
    return transform(images, random_params), changed.numpy()


def max_difference(pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    distances: np.ndarray = np.abs(pair[0].astype(int) - pair[1])
    return distances


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("name", MOVING)
def test_exact_transforms_are_equal_on_host_and_device(name: str, channels: int) -> None:
    images = np.random.default_rng(0).integers(1, 256, (24, 13, 17, channels), dtype=np.uint8)
    host, device = apply_on_host_and_device(MOVING[name], images)
    assert np.array_equal(host, device)
    assert not np.array_equal(host, images)


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("name", ROUNDING)
def test_rounding_transforms_differ_by_one_gray_level_at_most(name: str, channels: int) -> None:
    distances = max_difference(apply_on_host_and_device(ROUNDING[name], make_smooth_images(channels)))
    at_most = 1 if channels < 6 else 6  # the last two images: OpenCV rounds positions to a 32nd of a pixel
    assert distances.max() <= at_most
    assert distances.mean() < 0.1


@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("name", NEAREST)
def test_nearest_interpolation_differs_in_few_pixels(name: str, channels: int) -> None:
    assert (max_difference(apply_on_host_and_device(NEAREST[name], make_smooth_images(channels))) > 0).mean() < 1e-3


def test_rand_augment_with_several_ops_stays_close_to_the_host() -> None:
    """Equalizing or solarizing may widen a difference of one level."""
    distances = max_difference(apply_on_host_and_device(RandAugment(num_ops=3, magnitude=7), make_smooth_images(3)))
    assert distances.mean() < 0.05
    assert (distances > 1).mean() < 2e-3


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([*MOVING.values(), ROUNDING["affine"], ROUNDING["perspective"], ROUNDING["resized_crop"]]),
    st.tuples(st.integers(1, 5), st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3, 4])),
    st.integers(0, 2**32),
)
def test_device_transforms_match_the_host_for_any_image_size(
    transform: Transform, shape: tuple[int, ...], seed: int
) -> None:
    """The images are noise: neighboring pixels differ as much as possible."""
    images = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    distances = max_difference(apply_on_host_and_device(transform, images, seed))
    assert distances.max() <= (0 if transform in MOVING.values() else 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_augmentation_does_not_depend_on_the_batch(name: str, channels: int) -> None:
    images, transform = torch.from_numpy(make_smooth_images(channels)), ALL[name]
    before = images.clone()
    random_params = draw_random_params([transform], len(images), seed=3, epoch=1)
    whole = apply_transforms_on_device([transform], images, random_params)
    order = np.random.default_rng(1).permutation(len(images))
    parts = [
        apply_transforms_on_device([transform], images[part], random_params[part]) for part in np.array_split(order, 5)
    ]
    assert torch.equal(whole[order], torch.cat(parts))
    assert torch.equal(images, before)


def test_each_composed_transform_uses_separate_random_params() -> None:
    several: list[Transform] = [HorizontalFlip(), RandomCrop(3), RandomErasing()]
    images = make_smooth_images(3)
    random_params = draw_random_params(several, len(images), 0, 0)
    found = apply_transforms_on_device(several, torch.from_numpy(images), random_params)
    assert np.array_equal(found.numpy(), apply_transforms(several, images, random_params))


@pytest.mark.parametrize("level", [-1.0, -0.3, 0.0, 0.7, 1.0])
@pytest.mark.parametrize("place", range(FIRST_AFFINE_OP))
def test_every_rand_augment_op_matches_the_host(place: int, level: float) -> None:
    images = make_smooth_images(3)
    images[0] = 77  # a flat image
    images[1, :, :, 2] = 0
    levels = torch.full((len(images), 1, 1, 1), level)
    host = np.stack([IMAGE_OPS[place](image, level) for image in images])
    assert max_difference((host, TENSOR_OPS[place](torch.from_numpy(images), levels).numpy())).max() <= 1


def test_degenerate_map_gives_finite_pixels() -> None:
    images = torch.full((2, 5, 5, 1), 200, dtype=torch.uint8)
    flat = np.array([[[0.0, 0.0, 2.0], [0.0, 0.0, 2.0]]] * 2)
    assert warp_images(images, flat).shape == images.shape


def test_composite_with_a_host_only_part_does_not_support_devices() -> None:
    class OnTheHost:
        num_random_params = 0

        def __call__(self, images: np.ndarray, random_params: np.ndarray) -> np.ndarray:
            return images

    assert all(supports_device(transform) for transform in ALL.values())
    inner = RandomApply([HorizontalFlip(), OnTheHost()], 1.0)
    assert not any(supports_device(transform) for transform in (OnTheHost(), inner, RandomOrder([inner])))
    with pytest.raises(TypeError, match="OnTheHost supports only the host"):
        apply_transforms_on_device([inner], torch.zeros((1, 2, 2, 1), dtype=torch.uint8), np.zeros((1, 2), np.float32))
