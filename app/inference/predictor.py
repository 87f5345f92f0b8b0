"""One trained network, ready to answer: bundle, preprocessing, network, raw scores. It knows no queue."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import nn

from app.inference.seam import Pixels, stacked
from models import bundle

log = structlog.get_logger(__name__)


class Predictor:
    """Maps samples, pictures as uint8 (H, W, C), to raw scores, float32 (B, num_outputs); one thread at a time."""

    def __init__(
        self, network: nn.Module, description: bundle.Description, *, device: str = "cpu", use_bf16: bool = False
    ) -> None:
        self._device = torch.device(device)
        self._preprocess = description.preprocess().to(self._device)
        self._network = network.eval().to(self._device).to(memory_format=torch.channels_last)
        self._use_bf16 = use_bf16
        shape = description.image_shape
        self.sample_shape = (*shape[1:], shape[0]) if len(shape) == 3 else shape
        self.dtype = "uint8" if len(shape) == 3 else "float32"

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """The network of a bundle, not yet warmed up.

        Raises:
            models.bundle.BadBundle: the files do not make a network.
        """
        return cls(*bundle.load(folder), device=device)

    def take_precision(self, precision: str) -> None:
        """Compute in `fp32` or `bf16`; `auto`: bf16 where it is quicker and says the same of noise, dark and bright.

        The same: the highest score is of the same output, and no score is further off than 2 % of their range.
        """
        self._use_bf16 = precision == "bf16"
        if precision != "auto" or self.dtype != "uint8":
            return
        chance = np.random.default_rng(0)
        tried = [chance.integers(0, top, self.sample_shape, np.uint8) for top in (32, 96, 160, 256) for _ in range(4)]
        exact, exact_s = self._timed(tried)
        self._use_bf16 = True
        rounded, rounded_s = self._timed(tried)
        tolerance = 0.02 * float(np.ptp(exact)) + 1e-6
        agrees = bool((exact.argmax(1) == rounded.argmax(1)).all()) and float(abs(exact - rounded).max()) <= tolerance
        self._use_bf16 = agrees and rounded_s < exact_s
        facts = {"agrees": agrees, "fp32_s": round(exact_s, 5), "bf16_s": round(rounded_s, 5)}
        log.info("network.precision", precision="bf16" if self._use_bf16 else "fp32", **facts)

    def _timed(self, pictures: Sequence[Pixels]) -> tuple[NDArray[np.float32], float]:
        """Scores, and the best of three times."""
        scores, seconds = self(pictures), []
        for _ in range(3):
            began_at = time.monotonic()
            scores = self(pictures)
            seconds.append(time.monotonic() - began_at)
        return scores, min(seconds)

    @property
    def num_bytes(self) -> int:
        """What the weights take."""
        return sum(
            tensor.numel() * tensor.element_size() for tensor in (*self._network.parameters(), *self._network.buffers())
        )

    def __call__(self, pictures: Sequence[Pixels]) -> NDArray[np.float32]:
        """The raw scores of a batch, (B, num_outputs).

        Raises:
            ValueError: a picture has another shape than the network wants.
        """
        batch = stacked(pictures, self.sample_shape)
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._use_bf16):
            scores = self._network(self._preprocess(torch.from_numpy(batch).to(self._device)))
        raw: NDArray[np.float32] = scores.float().cpu().numpy()
        return raw
