"""Builds the callbacks that step learning-rate schedules."""

import math
from itertools import pairwise
from typing import assert_never

import torch
from torch.optim import lr_scheduler

from core.errors import InvalidSpec
from core.metric_direction import get_direction
from core.spec import schedules
from worker.engine import schedules as engine_schedules
from worker.engine.callback import Callback
from worker.engine.callbacks import BatchLrScheduler, EpochLrScheduler, PlateauLrScheduler


def make_schedule(
    spec: schedules.ScheduleSpec, optimizer: torch.optim.Optimizer, epochs: int, steps_per_epoch: int
) -> Callback:
    """Build a schedule that steps after each epoch or each batch, as `call_on` in the spec specifies.

    It is planned for `epochs` epochs. If the run has more, a schedule that has an end keeps its last learning rate.
    """
    total_steps = epochs if spec.call_on == "epoch_end" else epochs * steps_per_epoch
    options = spec.model_dump(exclude={"name", "call_on", "monitor"})
    scheduler: lr_scheduler.LRScheduler
    match spec:
        case schedules.SequentialSpec():
            scheduler = _make_sequence(spec, optimizer, total_steps)
        case schedules.CyclicSpec():
            scheduler = engine_schedules.build_cyclic(optimizer, **options)
        case schedules.OneCycleSpec(max_lr="auto"):
            raise InvalidSpec("max_lr 'auto' must be replaced by a number before the run is built")
        case schedules.OneCycleSpec():
            scheduler = engine_schedules.build_one_cycle(optimizer, total_steps=total_steps, **options)
        case schedules.PlateauSpec(monitor=monitor, mode=mode):
            options["mode"] = get_direction(monitor) if mode == "auto" else mode
            return PlateauLrScheduler(lr_scheduler.ReduceLROnPlateau(optimizer, **options), monitor)
        case _:
            scheduler = _make_part(spec, optimizer, total_steps)
    end = spec.get_end(total_steps, initial_lr=1.0)
    max_steps = math.inf if end is None else max(end.length, total_steps)
    if spec.call_on == "train_batch_end":
        return BatchLrScheduler(scheduler, max_steps)
    return EpochLrScheduler(scheduler, max_steps)


def _make_part(spec: schedules.PartSpec, optimizer: torch.optim.Optimizer, length: int) -> lr_scheduler.LRScheduler:
    """Build a schedule that can be part of a sequence. Its default number of steps is `length`."""
    options = spec.model_dump(exclude={"name", "call_on"})
    match spec:
        case schedules.StepSpec():
            return lr_scheduler.StepLR(optimizer, **options)
        case schedules.MultiStepSpec():
            return lr_scheduler.MultiStepLR(optimizer, **options)
        case schedules.ExponentialSpec():
            return lr_scheduler.ExponentialLR(optimizer, **options)
        case schedules.ConstantSpec():
            return lr_scheduler.ConstantLR(optimizer, **options)
        case schedules.LambdaSpec(factors=factors):
            return lr_scheduler.LambdaLR(optimizer, engine_schedules.build_lr_table(factors))
        case schedules.MultiplicativeSpec(factors=factors):
            return lr_scheduler.MultiplicativeLR(optimizer, engine_schedules.build_lr_table((1.0, *factors)))
        case schedules.LinearScheduleSpec(total_iters=total):
            return lr_scheduler.LinearLR(optimizer, **options | {"total_iters": total or length})
        case schedules.PolynomialSpec(total_iters=total):
            return lr_scheduler.PolynomialLR(optimizer, **options | {"total_iters": total or length})
        case schedules.CosineSpec(t_max=t_max, eta_min=eta_min):
            return lr_scheduler.CosineAnnealingLR(optimizer, T_max=t_max or length, eta_min=eta_min)
        case schedules.CosineWarmRestartsSpec(t_0=t_0, t_mult=t_mult, eta_min=eta_min):
            return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=t_0, T_mult=t_mult, eta_min=eta_min)
        case _:
            assert_never(spec)


def _make_sequence(
    spec: schedules.SequentialSpec, optimizer: torch.optim.Optimizer, total_steps: int
) -> lr_scheduler.LRScheduler:
    edges = [0, *spec.milestones, max(total_steps, spec.milestones[-1] + 1)]
    lengths = [end - start for start, end in pairwise(edges)]
    parts = [_make_part(part, optimizer, length) for part, length in zip(spec.schedules, lengths, strict=True)]
    return lr_scheduler.SequentialLR(optimizer, parts, list(spec.milestones))
