"""From words to objects: the only place where a spec becomes a live thing; one file a part of the spec."""

from worker.builders.callbacks import AVERAGES, make_callback
from worker.builders.losses import make_loss
from worker.builders.metrics import make_metric
from worker.builders.optimizers import make_optimizer
from worker.builders.run import (
    TASK_DEFAULTS,
    build_preprocessing,
    build_run,
    build_target_scaler,
    get_normalization,
    get_pretrained_weights,
)
from worker.builders.schedules import make_schedule
from worker.builders.transforms import make_transform

__all__ = [
    "AVERAGES",
    "TASK_DEFAULTS",
    "build_preprocessing",
    "build_run",
    "build_target_scaler",
    "get_normalization",
    "get_pretrained_weights",
    "make_callback",
    "make_loss",
    "make_metric",
    "make_optimizer",
    "make_schedule",
    "make_transform",
]
