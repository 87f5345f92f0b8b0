"""Transforms of transforms: all or none, one of several, or several in any order, by chance for each picture."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.engine.transforms.draws import Draws, Images, Transform, apply

Mask = NDArray[np.bool_]


class _Combined:
    """The first `num_own` draws are its own; the others belong to the parts, whether they are used or not."""

    num_own = 1

    def __init__(self, parts: Sequence[Transform]) -> None:
        self._parts = tuple(parts)

    @property
    def num_draws(self) -> int:
        return self.num_own + sum(part.num_draws for part in self._parts)

    def _draws_of(self, place: int, draws: Draws) -> Draws:
        start = self.num_own + sum(part.num_draws for part in self._parts[:place])
        return draws[:, start : start + self._parts[place].num_draws]

    def _change(self, images: Images, draws: Draws, place: int, chosen: Mask) -> None:
        """Let one part change the chosen ones, in place."""
        if chosen.any():
            images[chosen] = self._parts[place](images[chosen], self._draws_of(place, draws)[chosen])


class RandomApply(_Combined):
    """All parts, one after the other, with probability `p`. Source: `torchvision.transforms.RandomApply`."""

    def __init__(self, parts: Sequence[Transform], p: float = 0.5) -> None:
        super().__init__(parts)
        self._p = p

    def __call__(self, images: Images, draws: Draws) -> Images:
        chosen, changed = draws[:, 0] < self._p, images.copy()
        if chosen.any():
            changed[chosen] = apply(self._parts, images[chosen], draws[chosen, self.num_own :])
        return changed


class RandomChoice(_Combined):
    """One of the parts. Source: `torchvision.transforms.RandomChoice`."""

    def __call__(self, images: Images, draws: Draws) -> Images:
        choice, changed = np.floor(draws[:, 0] * len(self._parts)), images.copy()
        for place in range(len(self._parts)):
            self._change(changed, draws, place, choice == place)
        return changed


class RandomOrder(_Combined):
    """All parts, in any order. Source: `torchvision.transforms.RandomOrder`."""

    def __init__(self, parts: Sequence[Transform]) -> None:
        super().__init__(parts)
        self.num_own = len(self._parts)

    def __call__(self, images: Images, draws: Draws) -> Images:
        order, changed = draws[:, : self.num_own].argsort(axis=1, kind="stable"), images.copy()
        for turn in range(len(self._parts)):
            for place in range(len(self._parts)):
                self._change(changed, draws, place, order[:, turn] == place)
        return changed
