"""Chooses the number of CPU threads of a training whose spec has `threads: "auto"`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from core.datasets.packed import PackedDataset
from core.spec import JobSpec
from worker.builders.finder_run import build_finder_run
from worker.engine import thread_finder
from worker.engine.device import use_threads
from worker.engine.thread_finder import ThreadTrial, choose_num_threads
from worker.trainer.callbacks import ProgressReporter
from worker.trainer.initial_state import load_initial_weights
from worker.trainer.job_context import JobContext


def tune_threads(
    spec: JobSpec, packed: PackedDataset, context: JobContext, previous: Sequence[Any] | None
) -> tuple[JobContext, dict[str, Any]]:
    """Choose between one thread and all threads of the job, which `context.placement` has.

    A small network trains several times faster on one thread if other processes use the same cores, because threads
    that share a step wait for each other. The weights, the order of the batches and the random numbers of the training
    are the same as with this number in the spec: the steps are measured in a temporary run.

    Args:
        spec: the spec of the training.
        packed: the dataset.
        context: the context of the job.
        previous: the measurements in an earlier attempt's snapshot, which are stored again.

    Returns:
        The context with the number of threads, and the measurements as metadata to store in the snapshots. Nothing is
        measured if the number is known: it is in the spec, or an earlier attempt or an equal job has chosen it.

    Raises:
        EvaluationInterrupted: a stop is requested.
    """
    max_threads, start = context.placement.threads, context.start
    is_decided = spec.threads != "auto" or start.threads is not None or start.resume_dir is not None
    if is_decided or not context.is_on_one_cpu or max_threads == 1:
        return context, {} if previous is None else {"thread_trials": list(previous)}
    trials = _measure_threads(spec, packed, context)
    threads = choose_num_threads(trials, max_threads)
    use_threads(threads)
    if not trials:
        return context, {}
    context.channel.send_log(_describe_choice(threads, trials), "info")
    placement = replace(context.placement, threads=threads)
    return replace(context, placement=placement), {"thread_trials": thread_finder.to_dicts(trials)}


def _measure_threads(spec: JobSpec, packed: PackedDataset, context: JobContext) -> list[ThreadTrial]:
    reporter = ProgressReporter(context.channel, thread_finder.NUM_STEPS, is_quiet=True)
    run = build_finder_run(spec, packed, context.placement, load_initial_weights(context.start))
    trials = thread_finder.measure_threads(run, context.placement.threads, (reporter,))
    reporter.check_stop_request()
    return trials


def _describe_choice(threads: int, trials: Sequence[ThreadTrial]) -> str:
    one, several = trials
    return (
        f"The training uses {threads} of {several.threads} threads: {one.steps_per_s:.0f} steps/s with one thread, "
        f"{several.steps_per_s:.0f} with {several.threads}."
    )
