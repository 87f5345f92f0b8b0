"""Measures what a trainer uses: processor time, memory, GPU, time spent waiting for batches, and images per second."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from worker.engine.state import RunState

STATM = Path("/proc/self/statm")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MIB = 2**20


class UsageSampler:
    """Measures the use of this process since the previous sample. A sample takes less than 0.1 ms on a CPU.

    Only the process of rank 0 of a distributed run is measured.

    Args:
        every_s: minimum time between two samples, in seconds. Default: 5.
        clock: returns the time in seconds.
        cpu_clock: returns the processor time of this process in seconds.
    """

    def __init__(
        self,
        *,
        every_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._every_s = every_s
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._has_gpu_load = True
        self._has_sample = False
        self._num_images = 0
        self._wait_s = self._epoch_wait_s = 0.0
        self._sampled_at, self._cpu_s = clock(), cpu_clock()

    def count_batch(self, state: RunState) -> None:
        """Count the images of a training batch and the time that the run waited for it."""
        self._num_images += state.batch_size
        if state.wait_seconds < self._epoch_wait_s:  # a new epoch
            self._epoch_wait_s = 0.0
        self._wait_s += state.wait_seconds - self._epoch_wait_s
        self._epoch_wait_s = state.wait_seconds

    def sample(self, *, is_epoch_end: bool = False) -> dict[str, float]:
        """Return the use since the previous sample, or nothing if it is too recent. The first epoch has a sample.

        Keys: `cpu_percent` (of one core), `memory_mib` (resident), `data_wait` (0 to 1), `images_per_s`, and on a GPU
        `gpu_memory_mib` (allocated by torch) and `gpu_percent` (if the package `nvidia-ml-py` is installed).
        """
        now = self._clock()
        elapsed_s = now - self._sampled_at
        if elapsed_s <= 0 or (elapsed_s < self._every_s and (self._has_sample or not is_epoch_end)):
            return {}
        cpu_s = self._cpu_clock()
        usage = {
            "cpu_percent": 100 * (cpu_s - self._cpu_s) / elapsed_s,
            "data_wait": min(1.0, self._wait_s / elapsed_s),
            "images_per_s": self._num_images / elapsed_s,
            **read_memory(),
            **self._read_gpu(),
        }
        self._sampled_at, self._cpu_s, self._has_sample = now, cpu_s, True
        self._num_images, self._wait_s = 0, 0.0
        return usage

    def _read_gpu(self) -> dict[str, float]:
        if not (torch.cuda.is_available() and torch.cuda.is_initialized()):  # type: ignore[no-untyped-call]
            return {}
        usage = {"gpu_memory_mib": torch.cuda.memory_allocated() / MIB}
        if self._has_gpu_load:
            try:
                usage["gpu_percent"] = float(torch.cuda.utilization())
            except (ImportError, RuntimeError):  # without nvidia-ml-py or a driver that supports it
                self._has_gpu_load = False
        return usage


def read_memory() -> dict[str, float]:
    """Return the resident memory of this process in MiB as `memory_mib`; nothing on systems without /proc."""
    with suppress(OSError, IndexError, ValueError):
        return {"memory_mib": int(STATM.read_text().split()[1]) * PAGE_BYTES / MIB}
    return {}
