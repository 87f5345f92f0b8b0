"""Measures whether a network trains faster in bf16 or in fp32 on a CPU. It does not depend on the job spec.

Where `device.choose_precision` returns bf16, convolutions and matrix products are about twice as fast in it. Depthwise
convolutions and small operations are not, and their inputs must be converted: MobileNetV3 trains almost twice as fast
in fp32. Other variants are not measured, because they have never been the fastest: contiguous tensors, and the bf16
mode of fp32 operations in oneDNN; see `benchmarks/RESULTS.md`.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from worker.engine.batch_size_finder import StepTime, measure_step
from worker.engine.callback import Callback
from worker.engine.device import Precision
from worker.engine.run import Run

MIN_STEP_CPU_S = 0.01
"""Networks with shorter steps are not measured: for them, the measurement takes longer than it saves."""
MIN_GAIN = 1.2
"""bf16 is used if its step takes at least this many times less CPU time: fp32 is more exact."""
NUM_STEPS = 3


class PrecisionTrial(NamedTuple):
    """A tested precision, and the CPU seconds of a training step, summed over all threads."""

    precision: Precision
    cpu_s: float


def measure_precisions(
    build_run: Callable[[Precision], Run], observers: Sequence[Callback] = ()
) -> list[PrecisionTrial]:
    """Measure training steps in bf16 and in fp32.

    The CPU time, unlike the duration, depends little on the load of the machine. The result is empty if a step in bf16
    takes less than `MIN_STEP_CPU_S`, or if an observer interrupted a run. The measurement changes torch's random
    numbers and the weights of the networks of the runs.
    """
    trials: list[PrecisionTrial] = []
    for precision in ("bf16", "fp32"):
        step = measure_cpu_time(build_run(precision), observers)
        if step is None or step.seconds < MIN_STEP_CPU_S:
            return []
        trials.append(PrecisionTrial(precision, step.seconds))
    return trials


def measure_cpu_time(run: Run, observers: Sequence[Callback]) -> StepTime | None:
    """Return the median CPU time of `NUM_STEPS` steps. Return None if an observer interrupted the run."""
    return measure_step(run, NUM_STEPS, observers, time.process_time)


def choose_precision(trials: Sequence[PrecisionTrial]) -> Precision:
    """Return the precision to train in: bf16 without trials."""
    if not trials:
        return "bf16"
    bf16, fp32 = trials
    return "bf16" if fp32.cpu_s >= MIN_GAIN * bf16.cpu_s else "fp32"


def to_dicts(trials: Sequence[PrecisionTrial]) -> list[dict[str, Any]]:
    """Return the trials as JSON values."""
    return [{"precision": trial.precision, "cpu_s": round(trial.cpu_s, 4)} for trial in trials]
