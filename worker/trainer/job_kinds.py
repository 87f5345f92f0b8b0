"""Runs a job of any kind. Adding a kind of job requires one new `case` in this module."""

from typing import assert_never

from core.jobs import StopMode
from core.spec import EvaluateSpec, JobSpec, LrFindSpec, PredictArchiveSpec, PredictSpec, RegisterSpec, VariantSpec
from worker.engine.run import EvaluationInterrupted
from worker.protocol import JobCompleted, MilestoneReached, RunStopped, Start, TrainingFinished
from worker.trainer.automatic_variant import make_automatic_variant
from worker.trainer.channel import Channel
from worker.trainer.evaluation import evaluate_model
from worker.trainer.export import make_variant
from worker.trainer.job_context import JobContext, create_context
from worker.trainer.lr_finder import suggest_lr
from worker.trainer.predict_split import predict_split
from worker.trainer.registration import register_network
from worker.trainer.training import train_model


def execute_job(
    start: Start, channel: Channel, *, snapshot_every_s: float = 60.0
) -> TrainingFinished | JobCompleted | MilestoneReached | RunStopped | None:
    """Run a job and return its final message.

    In a distributed run, return None in all processes except the one that sends the final message, rank 0.
    """
    try:
        return _run_kind(create_context(start, channel, snapshot_every_s=snapshot_every_s))
    except EvaluationInterrupted:
        mode = channel.stop_mode
        return RunStopped(mode=StopMode.PREEMPT if mode is None or mode == StopMode.FINISH else mode)


def _run_kind(context: JobContext) -> TrainingFinished | JobCompleted | MilestoneReached | None:
    match context.start.spec:
        case JobSpec() as spec:  # also of the kind `reproduce`, whose training is that of its original
            return train_model(spec, context)
        case LrFindSpec() as spec:
            return suggest_lr(spec, context)
        case EvaluateSpec() as spec:
            return evaluate_model(spec, context)
        case PredictSpec() as spec:
            return predict_split(spec, context)
        case PredictArchiveSpec() as spec:
            # Imported here because it imports the readers of archives, which other jobs do not need.
            from worker.trainer.predict_archive import predict_archive

            return predict_archive(spec, context)
        case VariantSpec(format="auto") as spec:
            return make_automatic_variant(spec, context)
        case VariantSpec() as spec:
            return make_variant(spec, context)
        case RegisterSpec() as spec:
            return register_network(spec, context)
        case _:
            assert_never(context.start.spec)
