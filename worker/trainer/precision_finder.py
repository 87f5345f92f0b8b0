"""Chooses the precision of a training whose spec has `precision: "auto"`, on a CPU with bf16."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from core.datasets.packed import PackedDataset
from core.spec import JobSpec
from worker.builders.finder_run import build_finder_run
from worker.engine import precision_finder
from worker.engine.device import Precision
from worker.engine.precision_finder import PrecisionTrial, choose_precision
from worker.engine.run import Run
from worker.trainer.callbacks import ProgressReporter
from worker.trainer.initial_state import load_initial_weights
from worker.trainer.job_context import JobContext

MAX_BATCH_SIZE = 32
"""The largest batch size of the measurement, because fp32 needs twice the memory of bf16."""


def tune_precision(
    spec: JobSpec, packed: PackedDataset, context: JobContext, previous: Sequence[Any] | None
) -> tuple[JobContext, dict[str, Any]]:
    """Choose between bf16, which `context.placement` has if the processor accelerates it, and fp32.

    The weights, the order of the batches and the random numbers of the training are the same as with this precision in
    the spec: the steps are measured in temporary runs.

    Args:
        spec: the spec of the training.
        packed: the dataset.
        context: the context of the job.
        previous: the measurements in an earlier attempt's snapshot, which are stored again.

    Returns:
        The context with the precision, and the measurements as metadata to store in the snapshots. Nothing is measured
        if the precision is known: it is in the spec, or an earlier attempt or an equal job has chosen it.

    Raises:
        EvaluationInterrupted: a stop is requested.
    """
    start, placement = context.start, context.placement
    is_decided = spec.precision != "auto" or start.precision is not None or start.resume_dir is not None
    if is_decided or not context.is_on_one_cpu or placement.precision != "bf16" or spec.compile:
        return context, {} if previous is None else {"precision_trials": list(previous)}
    trials = _measure_precisions(spec, packed, context)
    if not trials:
        return context, {}
    precision = choose_precision(trials)
    context.channel.send_log(_describe_choice(precision, trials, min(spec.batch_size, MAX_BATCH_SIZE)), "info")
    chosen = replace(context, placement=replace(placement, precision=precision))
    return chosen, {"precision_trials": precision_finder.to_dicts(trials)}


def _measure_precisions(spec: JobSpec, packed: PackedDataset, context: JobContext) -> list[PrecisionTrial]:
    reporter = ProgressReporter(context.channel, precision_finder.NUM_STEPS, is_quiet=True)
    small = spec.model_copy(update={"batch_size": min(spec.batch_size, MAX_BATCH_SIZE)})

    def build_run(precision: Precision) -> Run:
        placement = replace(context.placement, precision=precision)
        return build_finder_run(small, packed, placement, load_initial_weights(context.start))

    trials = precision_finder.measure_precisions(build_run, (reporter,))
    reporter.check_stop_request()
    return trials


def _describe_choice(precision: Precision, trials: Sequence[PrecisionTrial], batch_size: int) -> str:
    bf16, fp32 = trials
    return (
        f"The training uses {precision}: a step of {batch_size} samples takes {bf16.cpu_s * 1000:.0f} ms of CPU "
        f"time in bf16, {fp32.cpu_s * 1000:.0f} ms in fp32."
    )
