"""From a learning-rate schedule in words to a callback that steps it."""

from typing import assert_never

import torch
from torch.optim import lr_scheduler

from core.errors import InvalidSpec
from core.spec import schedules
from worker.engine import schedules as engine_schedules
from worker.engine.callback import Callback
from worker.engine.callbacks import BatchSchedule, EpochSchedule, PlateauSchedule
from worker.engine.metrics import choose


def make_schedule(
    spec: schedules.ScheduleSpec, optimizer: torch.optim.Optimizer, epochs: int, steps_per_epoch: int
) -> Callback:
    """A schedule with its breakpoint; lengths not given are those of the whole run."""
    whole = epochs if spec.call_on == "epoch_end" else epochs * steps_per_epoch
    given = spec.model_dump(exclude={"name", "call_on", "monitor"})
    made: lr_scheduler.LRScheduler
    match spec:
        case schedules.StepSpec():
            made = lr_scheduler.StepLR(optimizer, **given)
        case schedules.MultiStepSpec():
            made = lr_scheduler.MultiStepLR(optimizer, **given)
        case schedules.ExponentialSpec():
            made = lr_scheduler.ExponentialLR(optimizer, **given)
        case schedules.LinearSpec(total_iters=total):
            made = lr_scheduler.LinearLR(optimizer, **given | {"total_iters": total or whole})
        case schedules.PolynomialSpec(total_iters=total):
            made = lr_scheduler.PolynomialLR(optimizer, **given | {"total_iters": total or whole})
        case schedules.CosineSpec(t_max=t_max, eta_min=eta_min):
            made = lr_scheduler.CosineAnnealingLR(optimizer, T_max=t_max or whole, eta_min=eta_min)
        case schedules.CosineWarmRestartsSpec(t_0=t_0, t_mult=t_mult, eta_min=eta_min):
            made = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=t_0, T_mult=t_mult, eta_min=eta_min)
        case schedules.CyclicSpec():
            made = engine_schedules.cyclic(optimizer, **given)
        case schedules.OneCycleSpec(max_lr="auto"):
            raise InvalidSpec("max_lr 'auto' must have been found before")
        case schedules.OneCycleSpec():
            made = engine_schedules.one_cycle(optimizer, total_steps=whole, **given)
        case schedules.PlateauSpec(monitor=monitor, mode=mode):
            given["mode"] = choose.direction(monitor) if mode == "auto" else mode
            return PlateauSchedule(lr_scheduler.ReduceLROnPlateau(optimizer, **given), monitor)
        case _:
            assert_never(spec)
    return BatchSchedule(made) if spec.call_on == "train_batch_end" else EpochSchedule(made)
