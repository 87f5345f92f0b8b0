"""Describes the validation samples to callbacks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.engine.metrics.factory import Task


@dataclass(frozen=True)
class ValidationSamples:
    """The validation samples, in the order of the batches.

    Attributes:
        labels: names of the classes; two for binary tasks, none for regression.
        split: the split of the dataset that contains the validation samples.
        index: indices of the validation samples in `split`. None: all samples of `split`, in order.
        names: names of all samples of `split`.
        images: all images of `split`, uint8 (N, H, W, C). None: no images are available.
    """

    task: Task = "classification"
    labels: Sequence[str] = ()
    split: str = "valid"
    index: NDArray[np.int64] | None = None
    names: Sequence[str] = ()
    images: Any = None

    def describe_sample(self, position: int) -> dict[str, Any]:
        """Return the index in `split` and the name of the validation sample at a position."""
        index = position if self.index is None else int(self.index[position])
        return {"index": index, "name": self.names[index] if self.names else ""}
