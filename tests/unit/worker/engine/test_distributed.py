"""Tests of a rank's part of each batch. `test_launcher.py` has tests with real processes."""

import numpy as np
import pytest
import torch

from tests.support.training import cpu_placement
from worker.engine.dataloader import ArrayDataLoader, ArraySource
from worker.engine.sampler import SamplerConfig
from worker.engine.transforms import HorizontalFlip


@pytest.mark.parametrize("transforms", [(), (HorizontalFlip(),)])
def test_shards_concatenate_to_the_batch(transforms: tuple[HorizontalFlip, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1), dtype=np.uint8)
    source = ArraySource(images, np.arange(50), np.arange(50))
    whole = ArrayDataLoader(source, cpu_placement(), 12, SamplerConfig(3, sampler="random", drop_last=True), transforms)
    parts = [whole.shard(rank, 3) for rank in range(3)]
    for batch, *shared in zip(whole.iter_epoch(2), *(part.iter_epoch(2) for part in parts), strict=True):
        assert torch.equal(torch.cat([part.images for part in shared]), batch.images)
        assert torch.equal(torch.cat([part.targets for part in shared]), batch.targets)


def test_uneven_batch_raises_error() -> None:
    source = ArraySource(np.zeros((50, 4, 4, 1), np.uint8), np.arange(50), np.arange(50))
    with pytest.raises(ValueError, match="a batch of 2 samples cannot be split evenly over 4 processes"):
        ArrayDataLoader(source, cpu_placement(), 16).shard(0, 4)
