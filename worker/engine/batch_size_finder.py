"""Measures the throughput of batch sizes and chooses one. It knows no spec.

Source: Lightning's BatchSizeFinder, which chooses the largest size that fits into memory, even if it is slow.
"""

import os
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from worker.engine.callback import Callback
from worker.engine.run import Run
from worker.engine.state import RunState

MIN_SPEED_RATIO = 0.95  # of the highest throughput; smaller differences are noise
MIN_GAIN, NUM_RECENT_TRIALS = 1.02, 2


class Trial(NamedTuple):
    """One batch size. `samples_per_s` is None if it does not fit into memory."""

    batch_size: int
    samples_per_s: float | None


class StepTimer(Callback):
    """Records the time after each step, when the device has finished it, and stops after the last."""

    def __init__(self, steps: int, clock: Callable[[], float]) -> None:
        self._steps, self._clock = steps, clock
        self.times: list[float] = []

    def on_train_batch_end(self, state: RunState) -> None:
        assert state.loss is not None  # noqa: S101 - a step was made
        float(state.loss)
        self.times.append(self._clock())
        if len(self.times) >= self._steps:
            state.interrupt()


def measure_samples_per_s(
    run: Run, steps: int, observers: Sequence[Callback] = (), clock: Callable[[], float] = time.perf_counter
) -> float | None:
    """Return the median throughput over `steps` steps after a first one, including loading.

    None: an observer interrupted the run. The network is unusable afterwards.
    """
    timer = StepTimer(steps + 1, clock)
    state = RunState(max_epochs=steps + 1, steps_per_epoch=run.state.steps_per_epoch)
    run.build_sweep_loop((timer, *observers)).fit(state)
    times = timer.times
    if len(times) <= steps:
        return None
    seconds = median(later - earlier for earlier, later in pairwise(times))
    return state.batch_size / max(seconds, 1e-9)


def should_continue(trials: Sequence[Trial]) -> bool:
    """Return whether a larger size is worth testing: the last one fits, and throughput still grows."""
    speeds = [trial.samples_per_s for trial in trials]
    if speeds and speeds[-1] is None:
        return False
    measured = [speed for speed in speeds if speed is not None]
    recent, earlier = measured[-NUM_RECENT_TRIALS:], measured[:-NUM_RECENT_TRIALS]
    return not earlier or max(recent) > MIN_GAIN * max(earlier)


def choose_batch_size(trials: Sequence[Trial], strategy: str) -> int | None:
    """Return the smallest size close to the highest throughput, or the largest for "largest". None: no size fits."""
    speeds = {trial.batch_size: trial.samples_per_s for trial in trials if trial.samples_per_s is not None}
    if not speeds:
        return None
    if strategy == "largest":
        return max(speeds)
    return min(size for size, speed in speeds.items() if speed >= MIN_SPEED_RATIO * max(speeds.values()))


def to_dict(trials: Sequence[Trial], batch_size: int) -> dict[str, Any]:
    """Return JSON values."""
    return {"chosen": batch_size, "trials": [trial._asdict() for trial in trials]}


def get_host_memory_bytes() -> int:
    """Return the memory of the whole machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
