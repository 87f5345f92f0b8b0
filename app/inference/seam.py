"""What networks are asked, and what they say: pixels in, scores out; and what is known of a batch."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import DeadlineExceeded, ServiceError

Pixels = NDArray[Any]
"""One sample: a picture, uint8 (H, W, C); a row or a window of a table, float32 (F,) or (T, F)."""
Scores = NDArray[np.float32]
"""What the network says of one picture, raw, (num_outputs,): logits, or the values of a regression; always finite."""
Outcome = Scores | ServiceError


class Closed(Exception):
    """The network left memory before these pictures came; another one must be asked."""


class Request:
    """The pictures of one caller, who waits for all of them. Times are of the monotonic clock."""

    def __init__(self, pictures: Sequence[Pixels], came_at: float, deadline: float = math.inf) -> None:
        self.pictures = pictures
        self.outcomes: list[Outcome | None] = [None] * len(pictures)
        self.num_left = len(pictures)
        self.came_at = came_at
        self.deadline = deadline
        self.waited_s = 0.0

    @property
    def is_gone(self) -> bool:
        """Whether nobody waits for the answer any more: nothing is computed for it then."""
        return False


def late() -> DeadlineExceeded:
    """What a caller hears whose time was up before the turn of its pictures."""
    return DeadlineExceeded("The request's timeout has passed; nothing was computed.")


class BatchFacts(NamedTuple):
    """A batch that was computed: pictures, how many of them the network failed on, and its time.

    `num_dropped` are pictures that were not computed, since nobody waited for them any more.
    """

    size: int
    num_failed: int
    seconds: float
    num_dropped: int = 0
