"""A trained network that computes raw scores of a batch: bundle, preprocessing and network. It has no queue."""

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
"""A network that exceeds the target latency by this factor gets all threads without a measurement."""
MAX_INSTANCES = 8
_thread_state = threading.local()


class Predictor:
    """Maps samples, for example images as uint8 (H, W, C), to raw scores, float32 (B, num_outputs).

    `num_instances` threads may call it at once; each one computes with a share of the processors.
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

        They agree if for random images of four brightness levels the highest score has the same index and no score
        differs by more than 2 % of the range of the scores.
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
        """Choose how many CPU threads compute a batch: as few as reach the target latency per sample of a full batch.

        Threads that wait for each other take processor time from those that read requests. A network that needs all
        threads gets several instances: the threads of one batch wait for each other, those of two batches do not.
        """
        if self._device.type != "cpu" or NUM_CPU_THREADS == 1:
            return
        self._num_threads = self._find_num_threads(batch_size, target_latency_s)
        self.num_instances = min(NUM_CPU_THREADS, MAX_INSTANCES) if self._num_threads == NUM_CPU_THREADS else 1
        log.info("threads.chosen", threads=self._num_threads, instances=self.num_instances)

    def set_num_sharing(self, num_sharing: int) -> None:
        """Let the calling thread compute with one of `num_sharing` shares of the threads from now on."""
        _thread_state.num_sharing = num_sharing

    @property
    def device(self) -> str:
        """The device of the weights."""
        return str(self._device)

    @property
    def num_bytes(self) -> int:
        """The memory of the weights."""
        return sum(
            tensor.numel() * tensor.element_size() for tensor in (*self._network.parameters(), *self._network.buffers())
        )

    def __call__(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        """Return the raw scores of a batch, (B, num_outputs).

        Raises:
            ValueError: a sample has another shape than the network expects.
        """
        batch = stack_batch(images, self.sample_shape)
        self._set_num_threads()
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._use_bf16):
            scores = self._network(self._preprocess(torch.from_numpy(batch).to(self._device)))
        raw: NDArray[np.float32] = scores.float().cpu().numpy()
        return raw

    def _find_num_threads(self, batch_size: int, target_latency_s: float) -> int:
        images = [np.zeros(self.sample_shape, self.dtype)] * batch_size  # 0 is a valid category of a table's column
        self._num_threads = 1
        if self._measure_cpu_s(images[:1]) > SLOW_FACTOR * target_latency_s:
            return NUM_CPU_THREADS
        latency_s = self._measure_cpu_s(images) / batch_size
        return min(max(1, math.ceil(latency_s / target_latency_s)), NUM_CPU_THREADS)

    def _measure_cpu_s(self, images: Sequence[Pixels]) -> float:
        """Return the processor time that one thread needs for a batch, the best of three runs."""
        self(images)
        seconds = []
        for _ in range(3):
            started_at = time.thread_time()
            self(images)
            seconds.append(time.thread_time() - started_at)
        return min(seconds)

    def _benchmark(self, images: Sequence[Pixels]) -> tuple[NDArray[np.float32], float]:
        """Return the scores and the best time of three runs."""
        scores, seconds = self(images), []
        for _ in range(3):
            started_at = time.monotonic()
            scores = self(images)
            seconds.append(time.monotonic() - started_at)
        return scores, min(seconds)

    def _set_num_threads(self) -> None:
        """Set torch's number of threads, which is a setting of the calling thread."""
        num_threads = max(1, self._num_threads // getattr(_thread_state, "num_sharing", 1))
        if getattr(_thread_state, "num_threads", 0) != num_threads:
            torch.set_num_threads(num_threads)
            _thread_state.num_threads = num_threads
