"""Samples on which the network fails do not affect the others of a batch."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from app.inference.failure_isolation import compute_outcomes
from core.errors import PredictionFailed


def compute(samples: Sequence[int]) -> NDArray[np.float32]:
    """Fail on negative numbers, and return NaN for 0."""
    if any(sample < 0 for sample in samples):
        raise RuntimeError("negative")
    return np.array([[sample or np.nan] for sample in samples], np.float32)


@pytest.mark.parametrize("samples", [[1, 2, 3], [-1], [1, -1, 2, 3, -1], [0, 1], [-1, 0, 1]])
def test_only_failing_samples_have_errors(samples: list[int]) -> None:
    outcomes = compute_outcomes(compute, samples, "m")
    assert [isinstance(outcome, PredictionFailed) for outcome in outcomes] == [sample <= 0 for sample in samples]
    valid = [float(outcome[0]) for outcome in outcomes if isinstance(outcome, np.ndarray)]
    assert valid == [sample for sample in samples if sample > 0]
