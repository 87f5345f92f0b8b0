"""Finds a batch size before a training, if the training's callbacks include `batch_size_finder`."""

from collections.abc import Mapping
from typing import Any

import torch

from core.datasets.packed import PackedDataset
from core.datasets.splits import resolve_splits
from core.errors import InvalidSpec
from core.host_resources import get_memory_bytes
from core.spec import JobSpec
from core.spec.callbacks import BatchSizeFinderSpec
from worker.builders.finder_run import build_finder_run
from worker.engine import batch_size_finder
from worker.engine.batch_size_finder import Trial, choose_batch_size, should_continue
from worker.engine.device import get_peak_memory_bytes
from worker.trainer.callbacks import ProgressReporter
from worker.trainer.error_classification import classify_error
from worker.trainer.initial_state import load_initial_weights
from worker.trainer.job_context import JobContext

OUT_OF_MEMORY = frozenset({"gpu_out_of_memory", "host_out_of_memory"})


def tune_batch_size(
    spec: JobSpec, packed: PackedDataset, context: JobContext, previous: Mapping[str, Any] | None
) -> tuple[JobSpec, dict[str, Any]]:
    """Set `batch_size` to the best measured size, if the spec has the callback `batch_size_finder`.

    Args:
        spec: the spec of the training.
        packed: the dataset.
        context: the context of the job.
        previous: the result from an earlier attempt's snapshot. If given, it is used and no search is run.

    Returns:
        The updated spec, and the result as metadata to store in the snapshots.

    Raises:
        InvalidSpec: the spec's `batch_size`, which is tried first, does not fit into memory.
        EvaluationInterrupted: a stop is requested.
    """
    finder = next((callback for callback in spec.callbacks if isinstance(callback, BatchSizeFinderSpec)), None)
    if finder is None:
        return spec, {}
    found = _find_batch_size(finder, spec, packed, context) if previous is None else dict(previous)
    other_callbacks = tuple(callback for callback in spec.callbacks if callback != finder)
    tuned = spec.model_copy(update={"batch_size": found["chosen"], "callbacks": other_callbacks})
    return tuned, {"batch_size": found}


def _find_batch_size(
    finder: BatchSizeFinderSpec, spec: JobSpec, packed: PackedDataset, context: JobContext
) -> dict[str, Any]:
    trials: list[Trial] = []
    size = spec.batch_size
    while not trials or (
        should_continue(trials) and size <= _get_max_batch_size(finder, spec, packed, context.placement.device)
    ):
        trials.append(Trial(size, _measure_batch_size(spec, size, finder.steps, packed, context)))
        size *= 2
    chosen = choose_batch_size(trials, finder.choose)
    if chosen is None:
        raise InvalidSpec(f"batch_size {spec.batch_size} does not fit into memory; set a smaller batch_size")
    context.channel.send_log(
        f"'batch_size_finder' set batch_size to {chosen}, instead of {spec.batch_size}.", "warning"
    )
    return batch_size_finder.to_dict(trials, chosen)


def _get_max_batch_size(finder: BatchSizeFinderSpec, spec: JobSpec, packed: PackedDataset, device: torch.device) -> int:
    """Return the largest batch size to try: the spec's `max_size`, limited by the number of training samples.

    On a CPU, return 0 if the process has used half of the memory that it may use, because the operating system may kill
    a process that uses more.
    """
    if device.type == "cpu" and 2 * get_peak_memory_bytes() >= get_memory_bytes():
        return 0
    num_train = len(resolve_splits(packed, spec.dataset, spec.seed).train_index)
    return min(finder.max_size, num_train // spec.accumulate_batches)


def _measure_batch_size(
    spec: JobSpec, size: int, steps: int, packed: PackedDataset, context: JobContext
) -> float | None:
    """Return the training throughput in samples per second, or None if the batch size does not fit into memory."""
    trial_spec = spec.model_copy(update={"batch_size": size, "on_oom": "fail"})
    reporter = ProgressReporter(context.channel, steps, is_quiet=True)
    try:
        run = build_finder_run(trial_spec, packed, context.placement, load_initial_weights(context.start))
        speed = batch_size_finder.measure_samples_per_s(run, steps, (reporter,))
    except (RuntimeError, MemoryError) as error:
        if classify_error(error, trial_spec).code not in OUT_OF_MEMORY:
            raise
        torch.cuda.empty_cache()  # does nothing without a GPU
        return None
    reporter.check_stop_request()
    return speed
