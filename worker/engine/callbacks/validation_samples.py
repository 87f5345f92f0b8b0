"""What a callback may know of the samples that a run is validated on; it knows no file of theirs."""

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
        labels: of the decisions: those of a binary task are two, those of numbers none.
        split: where the samples are in the dataset; `index`: their places in it.
        names: of all samples of that split; images: theirs, (N, H, W, C) uint8 where they are pictures.
    """

    task: Task = "classification"
    labels: Sequence[str] = ()
    split: str = "valid"
    index: NDArray[np.int64] | None = None
    names: Sequence[str] = ()
    images: Any = None
