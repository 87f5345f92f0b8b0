"""In which order an epoch takes its samples, and where its batches begin; it knows neither samples nor devices."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]
Sampler = Literal["random", "sequential", "weighted"]


@dataclass(frozen=True)
class SamplerConfig:
    """How samples come; `drop_last`: without a last batch that is not full.

    `sampler`: as they lie, shuffled, or `weighted`: as many in all, but about as many of every class, see `even_out`.
    With `mix_alpha` batches carry what mixing needs: shares from Beta(alpha, alpha), and three uniform numbers.
    """

    seed: int = 0
    sampler: Sampler = "sequential"
    drop_last: bool = False
    mix_alpha: float | None = None


SEQUENTIAL = SamplerConfig()


def batch_bounds(num_samples: int, batch_size: int, *, drop_last: bool) -> list[tuple[int, int]]:
    """Where each batch of an epoch begins and ends.

    Fewer samples than a batch make one batch. A last batch of a single sample joins the one before it: batch norm
    has no variance of one.
    """
    num_whole, rest = divmod(num_samples, batch_size)
    edges = [(i * batch_size, (i + 1) * batch_size) for i in range(num_whole)]
    if rest == 0 or (drop_last and num_whole):
        return edges
    if rest == 1 and num_whole:
        return [*edges[:-1], (edges[-1][0], num_samples)]
    return [*edges, (num_whole * batch_size, num_samples)]


def balance_classes(labels: NDArray[Any], random: np.random.Generator) -> Index:
    """Places of as many samples as there are labels, (N,), but of every class as many as of any other, or one less.

    Of a large class some are chosen; of a small one all come, again and again. Chance decides the order.
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
