"""Tests of batch bounds."""

import pytest

from worker.engine.sampler import batch_bounds


@pytest.mark.parametrize(
    ("num_samples", "drop_last", "bounds"),
    [
        (8, False, [(0, 4), (4, 8)]),
        (10, False, [(0, 4), (4, 8), (8, 10)]),
        (10, True, [(0, 4), (4, 8)]),
        (9, False, [(0, 4), (4, 9)]),
        (3, True, [(0, 3)]),
        (1, False, [(0, 1)]),
    ],
)
def test_batch_bounds_merge_a_single_sample(num_samples: int, drop_last: bool, bounds: list[tuple[int, int]]) -> None:
    assert batch_bounds(num_samples, 4, drop_last=drop_last) == bounds
