"""Evaluates a registered model on a split."""

from functools import partial

from core.spec import EvaluateSpec, PredictSpec
from core.spec.metrics import MetricSpec
from worker.builders.evaluation import EvaluationSetup, build_evaluation
from worker.builders.metric_warnings import find_undefined_areas
from worker.engine.callback import CallbackHandler
from worker.engine.callbacks import ConfusionMatrix
from worker.engine.evaluation import EvaluationReport
from worker.engine.state import RunState
from worker.engine.steps import ValidStep
from worker.protocol import JobCompleted, RunStarted
from worker.trainer.callbacks import ProgressReporter
from worker.trainer.job_context import JobContext
from worker.trainer.json_values import to_json_float, to_json_floats, to_json_values

MAX_MATRIX_CLASSES = 1000  # as of the callback `confusion_matrix`


def evaluate_model(spec: EvaluateSpec, context: JobContext) -> JobCompleted:
    """Compute the metrics of a registered model on a split, including the confusion matrix and other tables.

    Raises:
        EvaluationInterrupted: a stop is requested.
    """
    setup = start_evaluation(spec, spec.metrics or (), context)
    targets = setup.batches.get_targets()
    for warning in find_undefined_areas(spec.metrics or (), context.open_dataset().meta, spec.split, targets):
        context.channel.send_log(warning, "warning")
    report = _compute_report(spec, setup, _build_handler(spec, setup, context), context)
    values = setup.accumulator.compute_values()
    tables = setup.accumulator.compute_tables()
    tables.pop("confusion_matrix", None)  # the report already contains a confusion matrix
    summary = {"split": spec.split, "num_samples": len(setup.names), "metrics": to_json_floats(values)}
    return JobCompleted(
        result=summary | to_json_values(tables) | report.to_dict(list(setup.samples.labels)),
        metrics={f"{spec.split}_{name}": to_json_float(value) for name, value in values.items()},
    )


def start_evaluation(
    spec: EvaluateSpec | PredictSpec, requested_metrics: tuple[MetricSpec, ...], context: JobContext
) -> EvaluationSetup:
    """Load the model and the split, and report the start of the job.

    Raises:
        InvalidSpec: the dataset does not have the split or is not compatible with the model.
    """
    setup = build_evaluation(
        spec,
        requested_metrics,
        context.open_dataset(),
        context.model_dir,
        context.placement,
        spec.test_time_augmentation,
    )
    sizes = {"num_parameters": setup.num_parameters, "splits": {spec.split: len(setup.names)}}
    runtime = context.placement.describe() | sizes
    context.channel.send(RunStarted(runtime=runtime))
    return setup


def _build_handler(spec: EvaluateSpec, setup: EvaluationSetup, context: JobContext) -> CallbackHandler:
    """Return the callback that writes the confusion matrix. If it fails, the evaluation continues with a warning."""
    task, labels = setup.samples.task, setup.samples.labels
    if task == "regression" or (task != "multilabel" and len(labels) > MAX_MATRIX_CLASSES):
        return CallbackHandler()
    callback = ConfusionMatrix(setup.samples, context.create_artifacts().save, num_bins=spec.num_bins)
    return CallbackHandler([callback], partial(context.channel.send_log, level="warning"))


def _compute_report(
    spec: EvaluateSpec, setup: EvaluationSetup, hooks: CallbackHandler, context: JobContext
) -> EvaluationReport:
    """Run the network on all batches and return the report. This also updates the accumulator of `setup`."""
    reporter = ProgressReporter(context.channel, len(setup.batches))
    report = EvaluationReport(setup.description.task, setup.description.num_outputs, spec.num_bins)
    step = ValidStep(setup.forward, setup.accumulator, hooks)
    state = RunState(max_epochs=0, steps_per_epoch=0)
    step.start_phase()
    hooks.call("on_valid_begin", state)
    for number, batch in enumerate(setup.batches.iter_epoch(0), 1):
        reporter.check_stop_request()
        step(batch, state)
        assert state.pred is not None  # noqa: S101 - the step sets `pred`
        report.update(state.pred, batch.targets)
        reporter.report_step(number)
    hooks.call("on_valid_end", state)
    state.phase = "end"
    hooks.call("on_fit_end", state)
    return report
