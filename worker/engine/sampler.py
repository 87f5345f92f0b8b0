"""Determines the order of the samples and the bounds of the batches in an epoch. It does not read the samples."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]
Sampler = Literal["random", "sequential", "weighted"]


@dataclass(frozen=True)
class SamplerConfig:
    """The options of the sampler.

    Attributes:
        sampler: "sequential", "random" (shuffled), or "weighted" (equally many samples of each class, see
            `balance_classes`).
        drop_last: whether to drop the last batch if it is not full.
        mix_alpha: add `mix_params` to the batches, with shares from Beta(mix_alpha, mix_alpha). None: no mixing.
    """

    seed: int = 0
    sampler: Sampler = "sequential"
    drop_last: bool = False
    mix_alpha: float | None = None


SEQUENTIAL = SamplerConfig()


def batch_bounds(num_samples: int, batch_size: int, *, drop_last: bool) -> list[tuple[int, int]]:
    """Return the start and end of each batch of an epoch.

    If there are fewer samples than `batch_size`, they form one batch. A last batch of one sample is merged into the
    batch before it, because batch norm needs two samples.
    """
    num_whole, rest = divmod(num_samples, batch_size)
    edges = [(i * batch_size, (i + 1) * batch_size) for i in range(num_whole)]
    if rest == 0 or (drop_last and num_whole):
        return edges
    if rest == 1 and num_whole:
        return [*edges[:-1], (edges[-1][0], num_samples)]
    return [*edges, (num_whole * batch_size, num_samples)]


def balance_classes(labels: NDArray[Any], random: np.random.Generator) -> Index:
    """Return as many sample indices as there are labels. All classes occur equally often, up to a difference of one.

    Large classes are subsampled, and samples of small classes are repeated. The order is random.
    """
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    quotas = np.full(len(counts), len(labels) // len(counts))
    quotas[random.permutation(len(counts))[: len(labels) % len(counts)]] += 1
    members = np.split(np.argsort(classes, kind="stable"), np.cumsum(counts)[:-1])
    selected = [
        np.concatenate([random.permutation(indices) for _ in range(-(-quota // len(indices)))])[:quota]
        for indices, quota in zip(members, quotas.tolist(), strict=True)
        if quota
    ]
    return random.permutation(np.concatenate(selected)).astype(np.int64)
