"""Transforms that apply other transforms: all of them with a probability, one of them, or all in random order."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.transforms.functional import Mask, apply_where
from worker.engine.transforms.rng import Images, RandomParams, Transform, apply_transforms, apply_transforms_on_device


class _CompositeTransform:
    """The base class of transforms that consist of parts.

    The first `num_own_params` random parameters belong to the transform itself. The others belong to its parts,
    including parts that are not applied.
    """

    num_own_params = 1

    def __init__(self, parts: Sequence[Transform]) -> None:
        self.parts = tuple(parts)

    @property
    def num_random_params(self) -> int:
        return self.num_own_params + sum(part.num_random_params for part in self.parts)

    def _slice_params(self, index: int, random_params: RandomParams) -> RandomParams:
        start = self.num_own_params + sum(part.num_random_params for part in self.parts[:index])
        return random_params[:, start : start + self.parts[index].num_random_params]

    def _apply_part(self, images: Images, random_params: RandomParams, index: int, mask: Mask) -> None:
        """Apply one part to the selected images in place."""
        if mask.any():
            images[mask] = self.parts[index](images[mask], self._slice_params(index, random_params)[mask])

    def _apply_part_on_device(self, images: Tensor, random_params: RandomParams, index: int, mask: Mask) -> Tensor:
        part_params = self._slice_params(index, random_params)[mask]
        return apply_where(
            images, mask, lambda some: apply_transforms_on_device([self.parts[index]], some, part_params)
        )


class RandomApply(_CompositeTransform):
    """With probability `p` per image, applies all parts in order. Source: `torchvision.transforms.RandomApply`."""

    def __init__(self, parts: Sequence[Transform], p: float = 0.5) -> None:
        super().__init__(parts)
        self._p = p

    def __call__(self, images: Images, random_params: RandomParams) -> Images:
        mask, changed = self._select_images(random_params), images.copy()
        if mask.any():
            changed[mask] = apply_transforms(self.parts, images[mask], random_params[mask, self.num_own_params :])
        return changed

    def apply_on_device(self, images: Tensor, random_params: RandomParams) -> Tensor:
        mask = self._select_images(random_params)
        part_params = random_params[mask, self.num_own_params :]
        return apply_where(images, mask, lambda some: apply_transforms_on_device(self.parts, some, part_params))

    def _select_images(self, random_params: RandomParams) -> Mask:
        return random_params[:, 0] < self._p


class RandomChoice(_CompositeTransform):
    """Applies one randomly chosen part to each image. Source: `torchvision.transforms.RandomChoice`."""

    def __call__(self, images: Images, random_params: RandomParams) -> Images:
        choice, changed = self._choose_parts(random_params), images.copy()
        for index in range(len(self.parts)):
            self._apply_part(changed, random_params, index, choice == index)
        return changed

    def apply_on_device(self, images: Tensor, random_params: RandomParams) -> Tensor:
        choice = self._choose_parts(random_params)
        for index in range(len(self.parts)):
            images = self._apply_part_on_device(images, random_params, index, choice == index)
        return images

    def _choose_parts(self, random_params: RandomParams) -> NDArray[np.intp]:
        return np.floor(random_params[:, 0] * len(self.parts)).astype(np.intp)


class RandomOrder(_CompositeTransform):
    """Applies all parts in random order. Source: `torchvision.transforms.RandomOrder`."""

    def __init__(self, parts: Sequence[Transform]) -> None:
        super().__init__(parts)
        self.num_own_params = len(self.parts)

    def __call__(self, images: Images, random_params: RandomParams) -> Images:
        order, changed = self._choose_order(random_params), images.copy()
        for position, index in product(range(self.num_own_params), repeat=2):
            self._apply_part(changed, random_params, index, order[:, position] == index)
        return changed

    def apply_on_device(self, images: Tensor, random_params: RandomParams) -> Tensor:
        order = self._choose_order(random_params)
        for position, index in product(range(self.num_own_params), repeat=2):
            images = self._apply_part_on_device(images, random_params, index, order[:, position] == index)
        return images

    def _choose_order(self, random_params: RandomParams) -> NDArray[np.intp]:
        return random_params[:, : self.num_own_params].argsort(axis=1, kind="stable")
