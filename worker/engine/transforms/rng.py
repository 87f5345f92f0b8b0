"""Draws random parameters for all samples of an epoch at once. Sample i uses row i, whatever the batch size."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
from torch import Tensor

Images = np.ndarray[Any, np.dtype[np.uint8]]
RandomParams = np.ndarray[Any, np.dtype[np.float32]]


class Transform(Protocol):
    """A random augmentation of a batch of images."""

    @property
    def num_random_params(self) -> int:
        """The number of uniform random numbers per image."""
        ...

    def __call__(self, images: Images, random_params: RandomParams) -> Images:
        """Return augmented images, uint8 (B, H, W, C). `random_params` are (B, num_random_params) in [0, 1)."""
        ...


@runtime_checkable
class DeviceTransform(Transform, Protocol):
    """A transform that also augments batches on a device, without a loop over images."""

    def apply_on_device(self, images: Tensor, random_params: RandomParams) -> Tensor:
        """Return augmented images, uint8 (B, H, W, C), on the same device. `random_params` are on the host.

        The result equals the result of the transform on the host, except for rounding and interpolation differences.
        """
        ...


@runtime_checkable
class EpochTransform(Transform, Protocol):
    """A transform whose parameters depend on the parameters of the same sample in earlier epochs."""

    def draw_params(self, num_samples: int, seed: int, epoch: int) -> RandomParams:
        """Return the parameters of all samples in an epoch, (num_samples, num_random_params) in [0, 1)."""
        ...


class RngStream(IntEnum):
    """Independent streams of random numbers for the same seed and epoch, one for each purpose."""

    AUGMENTATION = 0
    SAMPLE_ORDER = 1
    MIXING = 2
    ALTERNATION = 3


def build_generator(seed: int, epoch: int, stream: RngStream) -> np.random.Generator:
    """Return a random number generator. Equal arguments give equal sequences of random numbers."""
    far, near = divmod(stream, 2)
    # without a dtype, NumPy would convert a list of large integers to floats
    key = np.array([seed, 2 * epoch + near + far * 2**62], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def draw_random_params(transforms: Sequence[Transform], num_samples: int, seed: int, epoch: int) -> RandomParams:
    """Return uniform numbers in [0, 1), one row per sample and one column per random parameter."""
    width = sum(transform.num_random_params for transform in transforms)
    params = build_generator(seed, epoch, RngStream.AUGMENTATION).random((num_samples, width), dtype=np.float32)
    start = 0
    for transform in transforms:
        end = start + transform.num_random_params
        if isinstance(transform, EpochTransform):
            params[:, start:end] = transform.draw_params(num_samples, seed, epoch)
        start = end
    return params


def draw_mix_params(alpha: float, num_samples: int, seed: int, epoch: int) -> RandomParams:
    """Return parameters for mixing, (num_samples, 4): a share from Beta(alpha, alpha), and three uniform numbers."""
    random = build_generator(seed, epoch, RngStream.MIXING)
    shares, rest = random.beta(alpha, alpha, (num_samples, 1)), random.random((num_samples, 3))
    return np.hstack([shares, rest]).astype(np.float32)


def apply_transforms(transforms: Sequence[Transform], images: Images, random_params: RandomParams) -> Images:
    """Apply the transforms in order, each with its columns of `random_params`."""
    start = 0
    for transform in transforms:
        images = transform(images, random_params[:, start : start + transform.num_random_params])
        start += transform.num_random_params
    return images


def supports_device(transform: Transform) -> TypeGuard[DeviceTransform]:
    """Return whether the transform and all its parts can run on a device."""
    return isinstance(transform, DeviceTransform) and all(map(supports_device, getattr(transform, "parts", ())))


def apply_transforms_on_device(transforms: Sequence[Transform], images: Tensor, random_params: RandomParams) -> Tensor:
    """Apply the transforms in order on the images' device.

    Raises:
        TypeError: a transform supports only the host.
    """
    start = 0
    for transform in transforms:
        if not isinstance(transform, DeviceTransform):
            raise TypeError(f"{type(transform).__name__} supports only the host")
        images = transform.apply_on_device(images, random_params[:, start : start + transform.num_random_params])
        start += transform.num_random_params
    return images
