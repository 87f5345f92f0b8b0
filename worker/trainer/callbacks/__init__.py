"""Callbacks of the trainer, which send reports to the supervisor and apply the supervisor's stop requests."""

from worker.trainer.callbacks.checkpoint import CheckpointCallback
from worker.trainer.callbacks.compile_time import CompileTimeCallback
from worker.trainer.callbacks.keep_alive import KeepAliveCallback
from worker.trainer.callbacks.learning_curve import LearningCurveCallback
from worker.trainer.callbacks.metrics import MetricsCallback
from worker.trainer.callbacks.milestones import MilestoneCallback
from worker.trainer.callbacks.progress import ProgressReporter
from worker.trainer.callbacks.stop_after_step import StopAfterStepCallback
from worker.trainer.callbacks.stop_request import StopRequestCallback

__all__ = [
    "CheckpointCallback",
    "CompileTimeCallback",
    "KeepAliveCallback",
    "LearningCurveCallback",
    "MetricsCallback",
    "MilestoneCallback",
    "ProgressReporter",
    "StopAfterStepCallback",
    "StopRequestCallback",
]
