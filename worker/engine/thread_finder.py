"""Measures whether a network trains faster on one CPU thread or on several. It does not depend on the job spec."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from worker.engine.batch_size_finder import StepTime, measure_step
from worker.engine.callback import Callback
from worker.engine.device import use_threads
from worker.engine.run import Run
from worker.engine.state import RunState

MAX_CPU_S = 0.25
"""A network whose step takes more CPU seconds on one thread always uses all threads, which then rarely wait."""
MIN_GAIN = 1.2
"""Several threads are used if a step is at least this many times faster. Otherwise others can use the cores."""
NUM_STEPS = 5

MeasureStep = Callable[[Run, int, Sequence[Callback]], StepTime | None]


class ThreadTrial(NamedTuple):
    """A tested number of threads, and the number of training steps per second."""

    threads: int
    steps_per_s: float


class LongStepGuard(Callback):
    """Interrupts the run after a step that takes more than `MAX_CPU_S` seconds of CPU time on one thread.

    The CPU time, unlike the duration, does not depend on the load of the machine. The first step is not judged: it also
    prepares the libraries and the memory.
    """

    def __init__(self, clock: Callable[[], float] = time.thread_time) -> None:
        self._clock = clock
        self._started_at = 0.0
        self._is_warm = False

    def on_train_batch_begin(self, state: RunState) -> None:
        self._started_at = self._clock()

    def on_train_batch_end(self, state: RunState) -> None:
        if self._is_warm and self._clock() - self._started_at > MAX_CPU_S:
            state.interrupt()
        self._is_warm = True


def measure_threads(
    run: Run, max_threads: int, observers: Sequence[Callback] = (), measure: MeasureStep = measure_step
) -> list[ThreadTrial]:
    """Measure training steps on one thread and on `max_threads` threads.

    The result is empty if a step after the first takes more than `MAX_CPU_S`, or if an observer interrupted the run.
    The measurement changes torch's number of threads, its random numbers and the weights of the run's network.
    """
    trials: list[ThreadTrial] = []
    for threads, guard in ((1, (LongStepGuard(),)), (max_threads, ())):
        use_threads(threads)
        step = measure(run, NUM_STEPS, (*guard, *observers))
        if step is None:
            return []
        trials.append(ThreadTrial(threads, 1 / step.seconds))
    return trials


def choose_num_threads(trials: Sequence[ThreadTrial], max_threads: int) -> int:
    """Return the number of threads to train with: `max_threads` without trials."""
    if not trials:
        return max_threads
    one, several = trials
    return several.threads if several.steps_per_s >= MIN_GAIN * one.steps_per_s else one.threads


def to_dicts(trials: Sequence[ThreadTrial]) -> list[dict[str, Any]]:
    """Return the trials as JSON values."""
    return [{"threads": trial.threads, "steps_per_s": round(trial.steps_per_s, 1)} for trial in trials]
