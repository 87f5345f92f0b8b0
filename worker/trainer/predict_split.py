"""Predicts all samples of a split with a registered model."""

from collections.abc import Iterator
from typing import Any

from core.spec import PredictSpec
from worker.builders.evaluation import EvaluationSetup
from worker.engine.evaluation import compute_probabilities
from worker.protocol import JobCompleted
from worker.trainer.callbacks import ProgressReporter
from worker.trainer.evaluation import start_evaluation
from worker.trainer.job_context import JobContext
from worker.trainer.prediction_files import Row, format_prediction, write_predictions


def predict_split(spec: PredictSpec, context: JobContext) -> JobCompleted:
    """Write the predictions for the samples of a split into the result folder.

    Raises:
        EvaluationInterrupted: a stop is requested.
    """
    setup = start_evaluation(spec, (), context)
    reporter = ProgressReporter(context.channel, len(setup.batches))
    counts, files = write_predictions(context.result_dir, _predict_rows(spec, setup, reporter))
    result = {"split": spec.split, "num_samples": len(setup.names), "counts": dict(counts.most_common())}
    return JobCompleted(result=result, metrics={}, dir=str(context.result_dir), files=files)


def _predict_rows(spec: PredictSpec, setup: EvaluationSetup, reporter: ProgressReporter) -> Iterator[Row]:
    setup.forward.network.eval()
    task, names = setup.description.task, iter(setup.names)
    has_scores = spec.scores and task != "regression"
    for number, batch in enumerate(setup.batches.iter_epoch(0), 1):
        reporter.check_stop_request()
        raw = setup.predict(batch.images).cpu()
        probabilities = compute_probabilities(raw, task)
        for scores, probability, target in zip(raw, probabilities, batch.targets.tolist(), strict=True):
            yield {
                "name": next(names),
                "target": _format_target(target, setup),
                **format_prediction(probability, spec.top_k, setup.description),
                **({"scores": scores.tolist()} if has_scores else {}),
            }
        reporter.report_step(number)


def _format_target(target: Any, setup: EvaluationSetup) -> Any:  # noqa: ANN401 - a class, or numbers
    """Return the target as a class name, or as numbers for a regression or multilabel task."""
    if isinstance(target, int):
        return setup.truths[target]
    return setup.truths[int(target[0])] if len(setup.truths) == 2 and len(target) == 1 else target
