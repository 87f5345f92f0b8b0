"""What a callback may know about the samples of the validation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.engine.metrics.factory import Task


@dataclass(frozen=True)
class ValidationSamples:
    """The samples of the validation, in the order of its batches.

    Attributes:
        labels: names of the classes; two for binary tasks, none for regression.
        split: the split of the dataset that holds the samples.
        index: indices of the samples in that split.
        names: names of all samples of that split.
        images: all images of that split, (N, H, W, C) uint8, or None.
    """

    task: Task = "classification"
    labels: Sequence[str] = ()
    split: str = "valid"
    index: NDArray[np.int64] | None = None
    names: Sequence[str] = ()
    images: Any = None
