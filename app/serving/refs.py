"""What is said across the seam between those who ask and the networks that answer."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.errors import ServiceError

Pixels = NDArray[np.uint8]
"""One picture, (H, W, C)."""
Scores = NDArray[np.float32]
"""What the network says of one picture, raw, (num_outputs,): logits, or the values of a regression; always finite."""
Outcome = Scores | ServiceError


class BundleRef(NamedTuple):
    """A bundle in the store: its folder, the sha256 of each of its files, and the model's name for people."""

    key: str
    files: tuple[tuple[str, str], ...]
    model: str
