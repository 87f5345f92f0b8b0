"""Measures how quickly a run goes through samples, and chooses among batch sizes; it knows no spec.

Source: Lightning's BatchSizeFinder, which takes the largest size that fits into memory, however slow.
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

MIN_SPEED_RATIO = 0.95  # of the most samples a second: more is noise
MIN_GAIN, NUM_RECENT_TRIALS = 1.02, 2


class Trial(NamedTuple):
    """One size; `samples_per_s` is None where it does not fit into memory."""

    batch_size: int
    samples_per_s: float | None


class StepTimer(Callback):
    """Notes the time after each step, once the device is done with it, and leaves after the last."""

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
    """The median over `steps` steps after a first one, reading of the batches included; the network is spoilt by it.

    None if an observer interrupted.
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
    """Whether a larger size is worth trying: it fits, and of the last ones any was quicker than those before it."""
    speeds = [trial.samples_per_s for trial in trials]
    if speeds and speeds[-1] is None:
        return False
    measured = [speed for speed in speeds if speed is not None]
    recent, earlier = measured[-NUM_RECENT_TRIALS:], measured[:-NUM_RECENT_TRIALS]
    return not earlier or max(recent) > MIN_GAIN * max(earlier)


def choose_batch_size(trials: Sequence[Trial], strategy: str) -> int | None:
    """The smallest size that is about as quick as any, or by the wish "largest" the largest; None if none fits."""
    speeds = {trial.batch_size: trial.samples_per_s for trial in trials if trial.samples_per_s is not None}
    if not speeds:
        return None
    if strategy == "largest":
        return max(speeds)
    return min(size for size, speed in speeds.items() if speed >= MIN_SPEED_RATIO * max(speeds.values()))


def to_dict(trials: Sequence[Trial], batch_size: int) -> dict[str, Any]:
    """JSON values of it all."""
    return {"chosen": batch_size, "trials": [trial._asdict() for trial in trials]}


def get_host_memory_bytes() -> int:
    """Of the whole machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
