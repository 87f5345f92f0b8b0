"""Random numbers that belong to a picture, not to a batch: picture i of an epoch always gets row i."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
from torch import Tensor

Images = np.ndarray[Any, np.dtype[np.uint8]]
Draws = np.ndarray[Any, np.dtype[np.float32]]


class Transform(Protocol):
    """Changes whole batches."""

    @property
    def num_draws(self) -> int:
        """Uniform random numbers that a picture needs."""
        ...

    def __call__(self, images: Images, draws: Draws) -> Images:
        """Return pictures like `images`, uint8 (B, H, W, C), by `draws`, (B, num_draws) in [0, 1)."""
        ...


@runtime_checkable
class DeviceTransform(Transform, Protocol):
    """Also changes batches that lie on a device, by the same parameters, without a loop over pictures."""

    def on_device(self, images: Tensor, draws: Draws) -> Tensor:
        """Return pictures like `images`, uint8 (B, H, W, C), on the same device; `draws` are on the host.

        Equal to the host's to a rounding, or to what two ways to interpolate differ by.
        """
        ...


class Stream(IntEnum):
    """Uses of one seed and epoch that must not share their random numbers."""

    DRAWS = 0
    ORDER = 1
    MIX = 2


def generator(seed: int, epoch: int, stream: Stream) -> np.random.Generator:
    """The same for the same arguments; it has no other state."""
    far, near = divmod(stream, 2)
    key = np.array(
        [seed, 2 * epoch + near + far * 2**62], dtype=np.uint64
    )  # a list of large numbers would become floats
    return np.random.Generator(np.random.Philox(key=key))


def draw(transforms: Sequence[Transform], num_samples: int, seed: int, epoch: int) -> Draws:
    """Uniform numbers in [0, 1), (num_samples, sum of num_draws): a row a sample."""
    width = sum(transform.num_draws for transform in transforms)
    return generator(seed, epoch, Stream.DRAWS).random((num_samples, width), dtype=np.float32)


def draw_mix(alpha: float, num_samples: int, seed: int, epoch: int) -> Draws:
    """What mixing needs, (num_samples, 4): a share from Beta(alpha, alpha), and three uniform numbers in [0, 1)."""
    random = generator(seed, epoch, Stream.MIX)
    shares, rest = random.beta(alpha, alpha, (num_samples, 1)), random.random((num_samples, 3))
    return np.hstack([shares, rest]).astype(np.float32)


def apply(transforms: Sequence[Transform], images: Images, draws: Draws) -> Images:
    """Apply one after the other, each with its columns of `draws`."""
    start = 0
    for transform in transforms:
        images = transform(images, draws[:, start : start + transform.num_draws])
        start += transform.num_draws
    return images


def works_on_device(transform: Transform) -> TypeGuard[DeviceTransform]:
    """Whether it has the form for tensors, and so have all its parts, where it is made of others."""
    return isinstance(transform, DeviceTransform) and all(map(works_on_device, getattr(transform, "parts", ())))


def apply_on_device(transforms: Sequence[Transform], images: Tensor, draws: Draws) -> Tensor:
    """The same as `apply`, where the pictures lie.

    Raises:
        TypeError: one of them works on the host alone.
    """
    start = 0
    for transform in transforms:
        if not isinstance(transform, DeviceTransform):
            raise TypeError(f"{type(transform).__name__} works on the host alone")
        images = transform.on_device(images, draws[:, start : start + transform.num_draws])
        start += transform.num_draws
    return images
