"""One trained network, ready to answer: bundle, preprocessing, network, raw scores. It knows no queue."""

import math
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import nn

from app.inference.types import Pixels, stack_batch
from models import bundle

log = structlog.get_logger(__name__)

ALL_THREADS = torch.get_num_threads()
LARGE = 20
"""A network that takes so many times longer for a picture than is quick enough is not tried with fewer threads."""
MAX_LANES = 8
_of_thread = threading.local()


class Predictor:
    """Maps samples, pictures as uint8 (H, W, C), to raw scores, float32 (B, num_outputs).

    `num_lanes` threads may call it at once; each may `share` the processors with the others.
    """

    def __init__(
        self, network: nn.Module, description: bundle.Description, *, device: str = "cpu", use_bf16: bool = False
    ) -> None:
        self._device = torch.device(device)
        self._preprocess = description.preprocess().to(self._device)
        self._network = network.eval().to(self._device).to(memory_format=torch.channels_last)
        self._use_bf16 = use_bf16
        self._num_threads = ALL_THREADS
        self.num_lanes = 1
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

    def choose_precision(self, precision: str) -> None:
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

    def choose_threads(self, batch_size: int, enough_s: float) -> None:
        """On a CPU, compute with no more threads than it takes to be done with a picture of a full batch in `enough_s`.

        Threads that wait for each other take processors from those who read requests. A network that is worth them all
        has lanes: threads of one batch wait for each other, those of two do not.
        """
        if self._device.type != "cpu" or ALL_THREADS == 1:
            return
        self._num_threads = self._enough_threads(batch_size, enough_s)
        self.num_lanes = min(ALL_THREADS, MAX_LANES) if self._num_threads == ALL_THREADS else 1
        log.info("network.threads", threads=self._num_threads, lanes=self.num_lanes)

    def _enough_threads(self, batch_size: int, enough_s: float) -> int:
        images = [np.zeros(self.sample_shape, self.dtype)] * batch_size  # of rows, 0 is among all categories
        self._num_threads = 1
        if self._computed(images[:1]) > LARGE * enough_s:
            return ALL_THREADS
        each_s = self._computed(images) / batch_size
        return min(max(1, math.ceil(each_s / enough_s)), ALL_THREADS)

    def share(self, num_sharing: int) -> None:
        """From now on the calling thread computes with its part of the threads: others compute too."""
        _of_thread.num_sharing = num_sharing

    def _computed(self, images: Sequence[Pixels]) -> float:
        """The seconds of a processor that one thread takes for a batch, the best of three: others do not count."""
        self(images)
        seconds = []
        for _ in range(3):
            began_at = time.thread_time()
            self(images)
            seconds.append(time.thread_time() - began_at)
        return min(seconds)

    def _timed(self, images: Sequence[Pixels]) -> tuple[NDArray[np.float32], float]:
        """Scores, and the best of three times."""
        scores, seconds = self(images), []
        for _ in range(3):
            began_at = time.monotonic()
            scores = self(images)
            seconds.append(time.monotonic() - began_at)
        return scores, min(seconds)

    @property
    def device(self) -> str:
        """Where it computes and its weights lie."""
        return str(self._device)

    @property
    def num_bytes(self) -> int:
        """What the weights take."""
        return sum(
            tensor.numel() * tensor.element_size() for tensor in (*self._network.parameters(), *self._network.buffers())
        )

    def __call__(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        """The raw scores of a batch, (B, num_outputs).

        Raises:
            ValueError: a picture has another shape than the network wants.
        """
        batch = stack_batch(images, self.sample_shape)
        self._use_threads()
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._use_bf16):
            scores = self._network(self._preprocess(torch.from_numpy(batch).to(self._device)))
        raw: NDArray[np.float32] = scores.float().cpu().numpy()
        return raw

    def _use_threads(self) -> None:
        """Torch's number is one of each thread that asks it to compute."""
        count = max(1, self._num_threads // getattr(_of_thread, "num_sharing", 1))
        if getattr(_of_thread, "count", 0) != count:
            torch.set_num_threads(count)
            _of_thread.count = count
