"""Transforms of transforms: all or none, one of several, or several in any order, by chance for each picture."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.transforms.functional import Mask, change_some
from worker.engine.transforms.rng import Draws, Images, Transform, apply, apply_on_device


class _Combined:
    """The first `num_own` draws are its own; the others belong to the parts, whether they are used or not."""

    num_own = 1

    def __init__(self, parts: Sequence[Transform]) -> None:
        self.parts = tuple(parts)

    @property
    def num_draws(self) -> int:
        return self.num_own + sum(part.num_draws for part in self.parts)

    def _draws_of(self, place: int, draws: Draws) -> Draws:
        start = self.num_own + sum(part.num_draws for part in self.parts[:place])
        return draws[:, start : start + self.parts[place].num_draws]

    def _change(self, images: Images, draws: Draws, place: int, chosen: Mask) -> None:
        """Let one part change the chosen ones, in place."""
        if chosen.any():
            images[chosen] = self.parts[place](images[chosen], self._draws_of(place, draws)[chosen])

    def _change_on_device(self, images: Tensor, draws: Draws, place: int, chosen: Mask) -> Tensor:
        own = self._draws_of(place, draws)[chosen]
        return change_some(images, chosen, lambda some: apply_on_device([self.parts[place]], some, own))


class RandomApply(_Combined):
    """All parts, one after the other, with probability `p`. Source: `torchvision.transforms.RandomApply`."""

    def __init__(self, parts: Sequence[Transform], p: float = 0.5) -> None:
        super().__init__(parts)
        self._p = p

    def __call__(self, images: Images, draws: Draws) -> Images:
        chosen, changed = self._chosen(draws), images.copy()
        if chosen.any():
            changed[chosen] = apply(self.parts, images[chosen], draws[chosen, self.num_own :])
        return changed

    def on_device(self, images: Tensor, draws: Draws) -> Tensor:
        chosen = self._chosen(draws)
        own = draws[chosen, self.num_own :]
        return change_some(images, chosen, lambda some: apply_on_device(self.parts, some, own))

    def _chosen(self, draws: Draws) -> Mask:
        return draws[:, 0] < self._p


class RandomChoice(_Combined):
    """One of the parts. Source: `torchvision.transforms.RandomChoice`."""

    def __call__(self, images: Images, draws: Draws) -> Images:
        choice, changed = self._choice(draws), images.copy()
        for place in range(len(self.parts)):
            self._change(changed, draws, place, choice == place)
        return changed

    def on_device(self, images: Tensor, draws: Draws) -> Tensor:
        choice = self._choice(draws)
        for place in range(len(self.parts)):
            images = self._change_on_device(images, draws, place, choice == place)
        return images

    def _choice(self, draws: Draws) -> NDArray[np.intp]:
        return np.floor(draws[:, 0] * len(self.parts)).astype(np.intp)


class RandomOrder(_Combined):
    """All parts, in any order. Source: `torchvision.transforms.RandomOrder`."""

    def __init__(self, parts: Sequence[Transform]) -> None:
        super().__init__(parts)
        self.num_own = len(self.parts)

    def __call__(self, images: Images, draws: Draws) -> Images:
        order, changed = self._order(draws), images.copy()
        for turn, place in product(range(self.num_own), repeat=2):
            self._change(changed, draws, place, order[:, turn] == place)
        return changed

    def on_device(self, images: Tensor, draws: Draws) -> Tensor:
        order = self._order(draws)
        for turn, place in product(range(self.num_own), repeat=2):
            images = self._change_on_device(images, draws, place, order[:, turn] == place)
        return images

    def _order(self, draws: Draws) -> NDArray[np.intp]:
        return draws[:, : self.num_own].argsort(axis=1, kind="stable")
