"""Types shared by the API processes and the inference process: samples, outcomes, requests and batch statistics."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from core.errors import DeadlineExceeded, ServiceError
from core.resizing import ResizePolicy

Pixels = NDArray[Any]
"""One sample: an image, uint8 (H, W, C); a row or a window of a table, float32 (F,) or (T, F)."""
Scores = NDArray[np.float32]
"""The raw outputs of the network for one sample, (num_outputs,): logits or regression values; always finite."""
Outcome = Scores | ServiceError

OutputKind = Literal["scores", "embedding", "attention"]
"""The kind of output: `scores`, `embedding` (the input of the last layer), or `attention` (scores and a heatmap)."""
OUTPUT_KINDS: tuple[OutputKind, ...] = get_args(OutputKind)
TOP_CLASS = -1
"""The target of a heatmap that explains the most probable class."""

NUM_LOAD_THREADS = 4
"""Number of models that are loaded at the same time, so that small models do not wait for a large one."""
NUM_PRIORITIES = 3
DEFAULT_PRIORITY = 2
"""Priorities are 1 to 3. Requests of priority 1 are computed first."""


class ResizeRecipe(NamedTuple):
    """How images were resized when the accuracy of published weights was measured, as in `models.registry`."""

    image_size: int
    shorter_side: int
    interpolation: str

    @property
    def policy(self) -> ResizePolicy:
        """How the recipe resizes images."""
        return ResizePolicy("crop", self.shorter_side, interpolation=self.interpolation)


class TargetedImage(NamedTuple):
    """An image, and the class that its heatmap explains."""

    image: Pixels
    target: int = TOP_CLASS


class BatcherClosed(Exception):
    """Raised if the model was unloaded before the request arrived. Callers load the model again and retry."""


class Request:
    """A prediction request: the samples of one caller, which waits until all are computed. All times are monotonic."""

    def __init__(
        self,
        samples: Sequence[Any],
        received_at: float,
        deadline: float = math.inf,
        priority: int = DEFAULT_PRIORITY,
    ) -> None:
        """Take samples of the type that the predictor of the model accepts: `Pixels` or `TargetedImage`."""
        self.samples = samples
        self.outcomes: list[Outcome | None] = [None] * len(samples)
        self.num_remaining = len(samples)
        self.received_at = received_at
        self.deadline = deadline
        self.priority = priority
        self.waited_s = 0.0

    @property
    def is_gone(self) -> bool:
        """Whether the caller no longer waits. If so, the remaining samples are not computed."""
        return False


class BatchStats(NamedTuple):
    """Statistics of a computed batch.

    Attributes:
        size: number of samples in the batch.
        num_failed: number of samples on which the network failed.
        seconds: duration of the computation.
        num_dropped: number of samples that were not computed because their request was cancelled or timed out.
        num_queued_elsewhere: number of samples that other API processes sent and that wait for the same model.
    """

    size: int
    num_failed: int
    seconds: float
    num_dropped: int = 0
    num_queued_elsewhere: int = 0


def make_deadline_error() -> DeadlineExceeded:
    """Return the error of a request whose deadline passed before all of its samples were computed."""
    return DeadlineExceeded("The request's timeout passed before all samples were computed.")


def stack_batch(images: Sequence[Pixels], shape: tuple[int, ...]) -> Pixels:
    """Stack samples into one batch, (B, *shape). The dtype does not change.

    Raises:
        ValueError: the samples do not have the shape `shape`.
    """
    batch = np.stack(images)
    if batch.shape[1:] != shape:
        raise ValueError(f"the samples have the shape {batch.shape[1:]}; the network expects {shape}")
    return batch
