"""From a learning-rate schedule in words to a callback that steps it."""

from itertools import pairwise
from typing import assert_never

import torch
from torch.optim import lr_scheduler

from core.errors import InvalidSpec
from core.spec import schedules
from worker.engine import schedules as engine_schedules
from worker.engine.callback import Callback
from worker.engine.callbacks import BatchSchedule, EpochSchedule, PlateauSchedule
from worker.engine.metrics import factory


def make_schedule(
    spec: schedules.ScheduleSpec, optimizer: torch.optim.Optimizer, epochs: int, steps_per_epoch: int
) -> Callback:
    """A schedule with its breakpoint; lengths not given are those of the whole run."""
    whole = epochs if spec.call_on == "epoch_end" else epochs * steps_per_epoch
    given = spec.model_dump(exclude={"name", "call_on", "monitor"})
    made: lr_scheduler.LRScheduler
    match spec:
        case schedules.SequentialSpec():
            made = _sequence(spec, optimizer, whole)
        case schedules.CyclicSpec():
            made = engine_schedules.cyclic(optimizer, **given)
        case schedules.OneCycleSpec(max_lr="auto"):
            raise InvalidSpec("max_lr 'auto' must have been found before")
        case schedules.OneCycleSpec():
            made = engine_schedules.one_cycle(optimizer, total_steps=whole, **given)
        case schedules.PlateauSpec(monitor=monitor, mode=mode):
            given["mode"] = factory.direction(monitor) if mode == "auto" else mode
            return PlateauSchedule(lr_scheduler.ReduceLROnPlateau(optimizer, **given), monitor)
        case _:
            made = _part(spec, optimizer, whole)
    return BatchSchedule(made) if spec.call_on == "train_batch_end" else EpochSchedule(made)


def _part(spec: schedules.PartSpec, optimizer: torch.optim.Optimizer, length: int) -> lr_scheduler.LRScheduler:
    """One of those that may be a part of a sequence; `length` is what it takes unless it says otherwise."""
    given = spec.model_dump(exclude={"name", "call_on"})
    match spec:
        case schedules.StepSpec():
            return lr_scheduler.StepLR(optimizer, **given)
        case schedules.MultiStepSpec():
            return lr_scheduler.MultiStepLR(optimizer, **given)
        case schedules.ExponentialSpec():
            return lr_scheduler.ExponentialLR(optimizer, **given)
        case schedules.ConstantSpec():
            return lr_scheduler.ConstantLR(optimizer, **given)
        case schedules.LambdaSpec(factors=factors):
            return lr_scheduler.LambdaLR(optimizer, engine_schedules.table(factors))
        case schedules.MultiplicativeSpec(factors=factors):
            return lr_scheduler.MultiplicativeLR(optimizer, engine_schedules.table((1.0, *factors)))
        case schedules.LinearSpec(total_iters=total):
            return lr_scheduler.LinearLR(optimizer, **given | {"total_iters": total or length})
        case schedules.PolynomialSpec(total_iters=total):
            return lr_scheduler.PolynomialLR(optimizer, **given | {"total_iters": total or length})
        case schedules.CosineSpec(t_max=t_max, eta_min=eta_min):
            return lr_scheduler.CosineAnnealingLR(optimizer, T_max=t_max or length, eta_min=eta_min)
        case schedules.CosineWarmRestartsSpec(t_0=t_0, t_mult=t_mult, eta_min=eta_min):
            return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=t_0, T_mult=t_mult, eta_min=eta_min)
        case _:
            assert_never(spec)


def _sequence(spec: schedules.SequentialSpec, optimizer: torch.optim.Optimizer, whole: int) -> lr_scheduler.LRScheduler:
    edges = [0, *spec.milestones, max(whole, spec.milestones[-1] + 1)]
    lengths = [end - begin for begin, end in pairwise(edges)]
    parts = [_part(part, optimizer, length) for part, length in zip(spec.schedules, lengths, strict=True)]
    return lr_scheduler.SequentialLR(optimizer, parts, list(spec.milestones))
