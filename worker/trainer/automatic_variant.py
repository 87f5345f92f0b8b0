"""Makes a model's candidate variants, and stores only the one that serves it best."""

import shutil
from pathlib import Path
from typing import Any

import torch

from core.spec import AUTO, CANDIDATE_FORMATS, VariantFormat, VariantSpec
from models.bundle import FileDigest
from models.variants import Runner
from worker.protocol import JobCompleted
from worker.trainer.artifacts import to_file_digests
from worker.trainer.export import VariantExporter, prepare_export
from worker.trainer.job_context import JobContext
from worker.trainer.variant_choice import Outcome, VariantCandidate, choose_variant, report_candidates
from worker.trainer.variant_comparison import (
    Comparison,
    Pixels,
    Scores,
    Throughput,
    check_stop_request,
    compare_scores,
    describe_throughput,
    measure_throughput,
    select_timed_batch,
)

CHOSEN_BY = "chosen_by"
NONE_CHOSEN = "No variant is stored: none is accurate enough and faster than the model."


class _Trial:
    """One format: its folder, its files and its runner, or why there are none."""

    def __init__(self, kind: VariantFormat, folder: Path) -> None:
        self.format = kind
        self.folder = folder
        self.files: dict[str, FileDigest] = {}
        self.run: Runner | None = None
        self.comparison: Comparison | None = None
        self.throughput: Throughput | None = None
        self.error: Exception | None = None

    def write(self, exporter: VariantExporter) -> None:
        """Write and load the variant. An error of an exporter or of a runtime is stored in `error`."""
        self.folder.mkdir(parents=True)
        try:
            self.files = exporter.write(self.format, self.folder)
            self.run = exporter.open_runner(self.folder)
        except (OSError, MemoryError):  # of the machine, not of the format: the job fails
            raise
        except Exception as error:  # noqa: BLE001 - exporters raise any exception
            self.discard(error)

    def discard(self, error: Exception | None = None) -> None:
        """Unload the variant and delete its files."""
        self.error, self.run = error, None
        shutil.rmtree(self.folder)

    def to_candidate(self, before: Throughput | None) -> VariantCandidate:
        """Return what was measured. `before`: the throughput of the model."""
        after = self.throughput
        ratio = None if before is None or after is None else after.median / before.median
        return VariantCandidate(self.format, self.comparison, ratio, self.error)


def make_automatic_variant(spec: VariantSpec, context: JobContext) -> JobCompleted:
    """Make all candidates, and store the fastest one that is accurate enough and faster than the model, if any.

    A format that cannot be made is not a failure of the job, since the others may be suitable.

    Raises:
        EvaluationInterrupted: a stop is requested.
    """
    channel = context.channel
    exporter = prepare_export(spec, context)
    trials = [_Trial(kind, context.work_dir / "candidates" / kind) for kind in CANDIDATE_FORMATS]
    for trial in trials:
        check_stop_request(channel)
        trial.write(exporter)
    model = exporter.create_model_runner()
    _compare(model, trials, exporter, context)
    before, batch_size = _measure(model, trials, exporter, context)
    candidates = [trial.to_candidate(before) for trial in trials]
    chosen = choose_variant(candidates, spec.max_drop)
    reports = report_candidates(candidates, chosen, spec.max_drop)
    for report in reports:
        is_problem = report.outcome is Outcome.FAILED
        channel.send_log(f"{report.candidate.format}: {report.message}", "warning" if is_problem else "info")
    outcome = {CHOSEN_BY: AUTO, "candidates": [report.to_dict() for report in reports]}
    winner = next((trial for trial in trials if trial.format == chosen), None)
    for trial in trials:
        if trial is not winner and trial.run is not None:
            trial.discard()
    if winner is None:
        channel.send_log(NONE_CHOSEN)
        return JobCompleted(result=_describe_none(exporter, before, batch_size) | outcome, metrics={})
    assert winner.comparison is not None and winner.throughput is not None  # noqa: S101, PT018 - it was measured
    winner.folder.rename(context.result_dir)
    result = exporter.describe_variant(context.result_dir, winner.comparison, before, winner.throughput, batch_size)
    return JobCompleted(
        result=result | outcome,
        metrics=exporter.build_metrics(result),
        dir=str(context.result_dir),
        files=to_file_digests(winner.files),
    )


def _compare(model: Runner, trials: list[_Trial], exporter: VariantExporter, context: JobContext) -> None:
    """Compare the scores of all candidates with those of the model, in one pass over the split."""
    runners = {trial.format: trial.run for trial in trials if trial.run is not None}
    results = compare_scores(model, runners, exporter.setup, context.channel)
    for trial in trials:
        result = results.get(trial.format)
        if isinstance(result, Exception):
            trial.discard(result)
        elif result is not None:
            trial.comparison = result
            if result.find_difference(exporter.spec.max_drop):
                trial.discard()


def _measure(
    model: Runner, trials: list[_Trial], exporter: VariantExporter, context: JobContext
) -> tuple[Throughput, int]:
    """Measure the candidates that are accurate enough. Return the throughput of the model, and the batch size.

    The service runs a quick network with one thread, and others with all threads. The model is therefore measured with
    both, and the faster one counts: with all threads, a small network can be many times slower on a busy machine.
    """
    batch, num_threads = select_timed_batch(exporter.setup), torch.get_num_threads()
    counts = sorted({1, num_threads})
    runners = [_limit_threads(model, count) for count in counts]
    runners += [trial.run for trial in trials if trial.run is not None]
    try:
        measured = measure_throughput(runners, batch, lambda: check_stop_request(context.channel))
    finally:
        torch.set_num_threads(num_threads)
    rates, others = measured[: len(counts)], measured[len(counts) :]
    for trial, throughput in zip((trial for trial in trials if trial.run is not None), others, strict=True):
        trial.throughput = throughput
    return max(rates, key=lambda rate: rate.median), len(batch)


def _limit_threads(run: Runner, num_threads: int) -> Runner:
    """Return a runner of a network that computes with this number of threads."""

    def run_limited(pixels: Pixels) -> Scores:
        torch.set_num_threads(num_threads)
        return run(pixels)

    return run_limited


def _describe_none(exporter: VariantExporter, before: Throughput, batch_size: int) -> dict[str, Any]:
    """Return the result of a job that stores no variant."""
    return {
        "format": None,
        **exporter.describe_evaluation(),
        "speed": describe_throughput(batch_size, before, None),
    }
