"""Builds the objects of a run from a job spec. Each module handles one part of the spec."""

from worker.builders.callbacks import make_callback
from worker.builders.losses import make_loss
from worker.builders.metrics import make_metric
from worker.builders.optimizers import make_optimizer
from worker.builders.preprocessing import build_preprocessing, get_normalization, get_pretrained_weights
from worker.builders.run import build_run
from worker.builders.schedules import make_schedule
from worker.builders.task_defaults import TASK_DEFAULTS
from worker.builders.transforms import make_transform

__all__ = [
    "TASK_DEFAULTS",
    "build_preprocessing",
    "build_run",
    "get_normalization",
    "get_pretrained_weights",
    "make_callback",
    "make_loss",
    "make_metric",
    "make_optimizer",
    "make_schedule",
    "make_transform",
]
