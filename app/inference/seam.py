"""What networks are asked, and what they say: pixels in, scores out; and what is known of a batch."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import ServiceError

Pixels = NDArray[np.uint8]
"""One picture, (H, W, C)."""
Scores = NDArray[np.float32]
"""What the network says of one picture, raw, (num_outputs,): logits, or the values of a regression; always finite."""
Outcome = Scores | ServiceError


class Closed(Exception):
    """The network left memory before these pictures came; another one must be asked."""


class Request:
    """The pictures of one caller, who waits for all of them. `came_at` is of the monotonic clock."""

    def __init__(self, pictures: Sequence[Pixels], came_at: float) -> None:
        self.pictures = pictures
        self.outcomes: list[Outcome | None] = [None] * len(pictures)
        self.num_left = len(pictures)
        self.came_at = came_at
        self.waited_s = 0.0

    @property
    def is_gone(self) -> bool:
        """Whether nobody waits for the answer any more: nothing is computed for it then."""
        return False


class BatchFacts(NamedTuple):
    """A batch that was computed: pictures, how many of them the network failed on, and its time."""

    size: int
    num_failed: int
    seconds: float
