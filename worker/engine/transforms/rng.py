"""Random numbers that belong to a picture, not to a batch: picture i of an epoch always gets row i."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
from torch import Tensor

Images = np.ndarray[Any, np.dtype[np.uint8]]
RandomParams = np.ndarray[Any, np.dtype[np.float32]]


class Transform(Protocol):
    """Changes whole batches."""

    @property
    def num_random_params(self) -> int:
        """Uniform random numbers that a picture needs."""
        ...

    def __call__(self, images: Images, random_params: RandomParams) -> Images:
        """Return pictures like `images`, uint8 (B, H, W, C), by `draws`, (B, num_draws) in [0, 1)."""
        ...


@runtime_checkable
class DeviceTransform(Transform, Protocol):
    """Also changes batches that lie on a device, by the same parameters, without a loop over pictures."""

    def apply_on_device(self, images: Tensor, random_params: RandomParams) -> Tensor:
        """Return pictures like `images`, uint8 (B, H, W, C), on the same device; `draws` are on the host.

        Equal to the host's to a rounding, or to what two ways to interpolate differ by.
        """
        ...


class RngStream(IntEnum):
    """Uses of one seed and epoch that must not share their random numbers."""

    AUGMENTATION = 0
    SAMPLE_ORDER = 1
    MIXING = 2


def build_generator(seed: int, epoch: int, stream: RngStream) -> np.random.Generator:
    """The same for the same arguments; it has no other state."""
    far, near = divmod(stream, 2)
    key = np.array(
        [seed, 2 * epoch + near + far * 2**62], dtype=np.uint64
    )  # a list of large numbers would become floats
    return np.random.Generator(np.random.Philox(key=key))


def draw_random_params(transforms: Sequence[Transform], num_samples: int, seed: int, epoch: int) -> RandomParams:
    """Uniform numbers in [0, 1), (num_samples, sum of num_draws): a row a sample."""
    width = sum(transform.num_random_params for transform in transforms)
    return build_generator(seed, epoch, RngStream.AUGMENTATION).random((num_samples, width), dtype=np.float32)


def draw_mix_params(alpha: float, num_samples: int, seed: int, epoch: int) -> RandomParams:
    """What mixing needs, (num_samples, 4): a share from Beta(alpha, alpha), and three uniform numbers in [0, 1)."""
    random = build_generator(seed, epoch, RngStream.MIXING)
    shares, rest = random.beta(alpha, alpha, (num_samples, 1)), random.random((num_samples, 3))
    return np.hstack([shares, rest]).astype(np.float32)


def apply_transforms(transforms: Sequence[Transform], images: Images, random_params: RandomParams) -> Images:
    """Apply one after the other, each with its columns of `draws`."""
    start = 0
    for transform in transforms:
        images = transform(images, random_params[:, start : start + transform.num_random_params])
        start += transform.num_random_params
    return images


def supports_device(transform: Transform) -> TypeGuard[DeviceTransform]:
    """Whether it has the form for tensors, and so have all its parts, where it is made of others."""
    return isinstance(transform, DeviceTransform) and all(map(supports_device, getattr(transform, "parts", ())))


def apply_transforms_on_device(transforms: Sequence[Transform], images: Tensor, random_params: RandomParams) -> Tensor:
    """The same as `apply`, where the pictures lie.

    Raises:
        TypeError: one of them works on the host alone.
    """
    start = 0
    for transform in transforms:
        if not isinstance(transform, DeviceTransform):
            raise TypeError(f"{type(transform).__name__} works on the host alone")
        images = transform.apply_on_device(images, random_params[:, start : start + transform.num_random_params])
        start += transform.num_random_params
    return images
