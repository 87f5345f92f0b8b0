"""Measures the throughput of batch sizes and chooses one. It does not depend on the job spec.

Source: Lightning's BatchSizeFinder, which always chooses the largest size that fits into memory.
"""

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from worker.engine.callback import Callback
from worker.engine.run import Run
from worker.engine.state import RunState

# A batch size that reaches this fraction of the highest throughput counts as equally fast.
MIN_SPEED_RATIO = 0.95
MIN_GAIN, NUM_RECENT_TRIALS = 1.02, 2


class Trial(NamedTuple):
    """A tested batch size and its throughput. `samples_per_s` is None if the batch does not fit into memory."""

    batch_size: int
    samples_per_s: float | None


class StepTime(NamedTuple):
    """The duration of a training step, and the number of samples of its batch."""

    seconds: float
    num_samples: int


class StepTimer(Callback):
    """Records the time at which the device finishes each step, and interrupts the run after `steps` steps."""

    def __init__(self, steps: int, clock: Callable[[], float]) -> None:
        self._steps, self._clock = steps, clock
        self.times: list[float] = []

    def on_train_batch_end(self, state: RunState) -> None:
        assert state.loss is not None  # noqa: S101 - the training step sets `loss`
        float(state.loss)
        self.times.append(self._clock())
        if len(self.times) >= self._steps:
            state.interrupt()


def measure_samples_per_s(
    run: Run, steps: int, observers: Sequence[Callback] = (), clock: Callable[[], float] = time.perf_counter
) -> float | None:
    """Return the median throughput over `steps` steps. Otherwise the same as `measure_step`."""
    step = measure_step(run, steps, observers, clock)
    return None if step is None else step.num_samples / step.seconds


def measure_step(
    run: Run, steps: int, observers: Sequence[Callback] = (), clock: Callable[[], float] = time.perf_counter
) -> StepTime | None:
    """Return the median duration of `steps` steps, including the time to load batches.

    The first step is not measured. Return None if an observer interrupted the run. The measurement changes the weights
    of the run's network, so use the run only for further measurements.
    """
    timer = StepTimer(steps + 1, clock)
    state = RunState(max_epochs=steps + 1, steps_per_epoch=run.state.steps_per_epoch)
    run.build_finder_loop((timer, *observers)).fit(state)
    times = timer.times
    if len(times) <= steps:
        return None
    seconds = max(1e-9, median(later - earlier for earlier, later in pairwise(times)))
    return StepTime(seconds, state.batch_size)


def should_continue(trials: Sequence[Trial]) -> bool:
    """Return True if the last size fits into memory and the throughput still grows. Then test a larger size."""
    speeds = [trial.samples_per_s for trial in trials]
    if speeds and speeds[-1] is None:
        return False
    measured = [speed for speed in speeds if speed is not None]
    recent, earlier = measured[-NUM_RECENT_TRIALS:], measured[:-NUM_RECENT_TRIALS]
    return not earlier or max(recent) > MIN_GAIN * max(earlier)


def choose_batch_size(trials: Sequence[Trial], strategy: str) -> int | None:
    """Return the smallest batch size that reaches at least `MIN_SPEED_RATIO` of the highest throughput.

    With the strategy "largest", return the largest size that fits into memory. Return None if no size fits.
    """
    speeds = {trial.batch_size: trial.samples_per_s for trial in trials if trial.samples_per_s is not None}
    if not speeds:
        return None
    if strategy == "largest":
        return max(speeds)
    return min(size for size, speed in speeds.items() if speed >= MIN_SPEED_RATIO * max(speeds.values()))


def to_dict(trials: Sequence[Trial], batch_size: int) -> dict[str, Any]:
    """Return the chosen batch size and all trials as JSON values."""
    return {"chosen": batch_size, "trials": [trial._asdict() for trial in trials]}
