"""What networks are asked, and what they say: pixels in, scores out; and what is known of a batch."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from core.errors import DeadlineExceeded, ServiceError

Pixels = NDArray[Any]
"""One sample: a picture, uint8 (H, W, C); a row or a window of a table, float32 (F,) or (T, F)."""
Scores = NDArray[np.float32]
"""What the network says of one picture, raw, (num_outputs,): logits, or the values of a regression; always finite."""
Outcome = Scores | ServiceError


View = Literal["scores", "embedding", "attention"]
"""What a network is asked."""
VIEWS: tuple[View, ...] = get_args(View)
_OF_VIEW = "#"
_CLASS = np.dtype("<i4")
CLASS_BYTES = _CLASS.itemsize
TOP_CLASS = -1
"""In the place of a class: the most probable one."""


def key_of(key: str, view: View) -> str:
    """The key under which a view of a stored network is known."""
    return key if view == "scores" else f"{key}{_OF_VIEW}{view}"


def split_key(key: str) -> tuple[str, View]:
    """The key in the store, and the view."""
    stored, _, view = key.partition(_OF_VIEW)
    known: dict[str, View] = {"embedding": "embedding", "attention": "attention"}
    return stored, known.get(view, "scores")


def rows_for_class(width: int, channels: int) -> int:
    """How many rows of a picture hold the number of a class."""
    return -(-CLASS_BYTES // (width * channels))


def with_class(image: Pixels, number: int) -> Pixels:
    """The picture, uint8 (H, W, C), with rows below it that say which class is meant: (H + rows, W, C)."""
    _, width, channels = image.shape
    below = np.zeros((rows_for_class(width, channels), width, channels), np.uint8)
    below.reshape(-1)[:CLASS_BYTES] = np.array([number], _CLASS).view(np.uint8)
    return np.concatenate([image, below])


def class_of(rows: Pixels) -> int:
    """What `with_class` put into these rows."""
    return int(np.ascontiguousarray(rows).reshape(-1)[:CLASS_BYTES].view(_CLASS)[0])


NUM_LEVELS = 3
DEFAULT_LEVEL = 2
"""Those who wait for a network do so on one of the levels 1 to 3; level 1 goes first."""


class BatcherClosed(Exception):
    """The network left memory before these pictures came; another one must be asked."""


class Request:
    """The pictures of one caller, who waits for all of them. Times are of the monotonic clock."""

    def __init__(
        self, images: Sequence[Pixels], came_at: float, deadline: float = math.inf, level: int = DEFAULT_LEVEL
    ) -> None:
        self.images = images
        self.outcomes: list[Outcome | None] = [None] * len(images)
        self.num_left = len(images)
        self.came_at = came_at
        self.deadline = deadline
        self.level = level
        self.waited_s = 0.0

    @property
    def is_gone(self) -> bool:
        """Whether nobody waits for the answer any more: nothing is computed for it then."""
        return False


def deadline_exceeded() -> DeadlineExceeded:
    """What a caller hears whose time was up before the turn of its pictures."""
    return DeadlineExceeded("The request's timeout has passed; nothing was computed.")


class BatchStats(NamedTuple):
    """A batch that was computed: pictures, how many of them the network failed on, and its time.

    `num_dropped` are pictures that were not computed, since nobody waited for them any more; `num_others` those that
    still wait and were sent by other processes than the one that hears of it.
    """

    size: int
    num_failed: int
    seconds: float
    num_dropped: int = 0
    num_others: int = 0


def stack_batch(images: Sequence[Pixels], shape: tuple[int, ...]) -> Pixels:
    """One batch, (B, *shape), of the pictures' own dtype.

    Raises:
        ValueError: a picture has another shape.
    """
    batch = np.stack(images)
    if batch.shape[1:] != shape:
        raise ValueError(f"pictures of {batch.shape[1:]} came; the network takes {shape}")
    return batch
