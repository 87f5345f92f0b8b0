"""From words to objects: the only place where a spec becomes a live thing; one file a part of the spec."""

from worker.assemble.callbacks import AVERAGES, make_callback
from worker.assemble.losses import make_loss
from worker.assemble.metrics import make_metric
from worker.assemble.optimizers import make_optimizer
from worker.assemble.schedules import make_schedule
from worker.assemble.transforms import make_transform
from worker.assemble.whole import USUAL, assemble, normalization, preprocess, pretrained, target_scale

__all__ = [
    "AVERAGES",
    "USUAL",
    "assemble",
    "make_callback",
    "make_loss",
    "make_metric",
    "make_optimizer",
    "make_schedule",
    "make_transform",
    "normalization",
    "preprocess",
    "pretrained",
    "target_scale",
]
