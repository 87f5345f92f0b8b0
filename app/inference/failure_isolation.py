"""Computes a batch so that a sample on which the network fails does not affect the other samples."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from app.inference.types import Outcome
from core.errors import PredictionFailed

log = structlog.get_logger(__name__)

Compute = Callable[[Sequence[Any]], NDArray[np.float32]]
"""Maps a batch of samples to raw scores, (B, num_outputs)."""


def compute_outcomes(compute: Compute, samples: list[Any], model: str) -> list[Outcome]:
    """Return the scores or the error of each sample. To find a failing sample, halve the batch repeatedly."""
    try:
        scores = compute(samples)
    except Exception as error:  # noqa: BLE001 - a network may raise any exception
        if len(samples) == 1:
            log.warning("prediction.failed", model=model, error=repr(error)[:500])
            return [PredictionFailed("The network failed on this sample.", reason=type(error).__name__)]
        middle = len(samples) // 2
        return [
            *compute_outcomes(compute, samples[:middle], model),
            *compute_outcomes(compute, samples[middle:], model),
        ]
    is_finite = np.logical_and.reduce(np.isfinite(scores), axis=1)
    return [
        row if finite else PredictionFailed("The network's output for this sample is not finite.")
        for row, finite in zip(scores, is_finite, strict=True)
    ]
