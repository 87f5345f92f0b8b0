"""Computes the raw scores of a batch with the preprocessing and the network of a bundle."""

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

NUM_CPU_THREADS = torch.get_num_threads()
SLOW_FACTOR = 20
"""If a sample takes longer than this factor times the target latency, use all threads without measuring a batch."""
MAX_INSTANCES = 8
_thread_state = threading.local()


class Predictor:
    """Maps samples, for example images as uint8 (H, W, C), to raw scores, float32 (B, num_outputs).

    Up to `num_instances` threads may call the predictor at the same time. Their batches share the CPU threads.
    """

    def __init__(
        self,
        network: nn.Module,
        description: bundle.BundleDescription,
        *,
        device: str = "cpu",
        use_bf16: bool = False,
    ) -> None:
        self._device = torch.device(device)
        self._preprocess = description.build_preprocessing().to(self._device)
        self._network = network.eval().to(self._device).to(memory_format=torch.channels_last)
        self._use_bf16 = use_bf16
        self._num_threads = NUM_CPU_THREADS
        self.num_instances = 1
        shape = description.image_shape
        self.sample_shape = (*shape[1:], shape[0]) if len(shape) == 3 else shape
        self.dtype = "uint8" if len(shape) == 3 else "float32"

    @classmethod
    def load(cls, folder: Path, *, device: str = "cpu") -> Self:
        """Load the network of a bundle, without a warm-up.

        Raises:
            models.bundle.BadBundle: the files are not a valid bundle.
        """
        return cls(*bundle.load_bundle(folder), device=device)

    def choose_precision(self, precision: str) -> None:
        """Set the precision: `fp32`, `bf16`, or `auto`, which uses bf16 if it is faster and agrees with fp32.

        Random images of four brightness levels are computed in both precisions. The precisions agree if the highest
        score of each image has the same index in both and no score differs by more than 2 % of the range of the scores.
        """
        self._use_bf16 = precision == "bf16"
        if precision != "auto" or self.dtype != "uint8":
            return
        rng = np.random.default_rng(0)
        images = [rng.integers(0, top, self.sample_shape, np.uint8) for top in (32, 96, 160, 256) for _ in range(4)]
        exact, exact_s = self._benchmark(images)
        self._use_bf16 = True
        rounded, rounded_s = self._benchmark(images)
        tolerance = 0.02 * float(np.ptp(exact)) + 1e-6
        agrees = bool((exact.argmax(1) == rounded.argmax(1)).all()) and float(abs(exact - rounded).max()) <= tolerance
        self._use_bf16 = agrees and rounded_s < exact_s
        log.info(
            "precision.chosen",
            precision="bf16" if self._use_bf16 else "fp32",
            agrees=agrees,
            fp32_s=round(exact_s, 5),
            bf16_s=round(rounded_s, 5),
        )

    def choose_threads(self, batch_size: int, target_latency_s: float) -> None:
        """Choose the smallest number of CPU threads that reaches the target latency per sample of a full batch.

        More threads than necessary waste processor time: threads that compute the same batch wait for each other, and
        threads that read requests get less time. A network that needs all threads gets several instances, since threads
        that compute different batches do not wait for each other.
        """
        if self._device.type != "cpu" or NUM_CPU_THREADS == 1:
            return
        self._num_threads = self._find_num_threads(batch_size, target_latency_s)
        self.num_instances = min(NUM_CPU_THREADS, MAX_INSTANCES) if self._num_threads == NUM_CPU_THREADS else 1
        log.info("threads.chosen", threads=self._num_threads, instances=self.num_instances)

    def set_num_sharing(self, num_sharing: int) -> None:
        """Set the number of batches that share the CPU threads, for later calls of the predictor by this thread."""
        _thread_state.num_sharing = num_sharing

    @property
    def device(self) -> str:
        """The device of the weights."""
        return str(self._device)

    @property
    def num_bytes(self) -> int:
        """Size of the weights in memory, in bytes."""
        return sum(
            tensor.numel() * tensor.element_size() for tensor in (*self._network.parameters(), *self._network.buffers())
        )

    def __call__(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        """Return the raw scores of a batch, (B, num_outputs).

        Raises:
            ValueError: the shape of a sample differs from the input shape of the network.
        """
        batch = stack_batch(images, self.sample_shape)
        self._set_num_threads()
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._use_bf16):
            scores = self._network(self._preprocess(torch.from_numpy(batch).to(self._device)))
        raw: NDArray[np.float32] = scores.float().cpu().numpy()
        return raw

    def _find_num_threads(self, batch_size: int, target_latency_s: float) -> int:
        images = [np.zeros(self.sample_shape, self.dtype)] * batch_size  # 0 is also a valid category code
        self._num_threads = 1
        if self._measure_cpu_s(images[:1]) > SLOW_FACTOR * target_latency_s:
            return NUM_CPU_THREADS
        latency_s = self._measure_cpu_s(images) / batch_size
        return min(max(1, math.ceil(latency_s / target_latency_s)), NUM_CPU_THREADS)

    def _measure_cpu_s(self, images: Sequence[Pixels]) -> float:
        """Return the processor time of the calling thread for a batch, in seconds: the shortest of three runs."""
        self(images)
        seconds = []
        for _ in range(3):
            started_at = time.thread_time()
            self(images)
            seconds.append(time.thread_time() - started_at)
        return min(seconds)

    def _benchmark(self, images: Sequence[Pixels]) -> tuple[NDArray[np.float32], float]:
        """Return the scores, and the shortest duration of three runs in seconds."""
        scores, seconds = self(images), []
        for _ in range(3):
            started_at = time.monotonic()
            scores = self(images)
            seconds.append(time.monotonic() - started_at)
        return scores, min(seconds)

    def _set_num_threads(self) -> None:
        """Set torch's number of threads for the calling thread."""
        num_threads = max(1, self._num_threads // getattr(_thread_state, "num_sharing", 1))
        if getattr(_thread_state, "num_threads", 0) != num_threads:
            torch.set_num_threads(num_threads)
            _thread_state.num_threads = num_threads
