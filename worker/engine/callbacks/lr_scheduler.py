"""Callbacks that step a learning-rate scheduler of torch."""

import math
from typing import Any

from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from worker.engine.callback import Callback
from worker.engine.state import RunState


class LrSchedulerCallback(Callback):
    """The base class of callbacks that step a scheduler. Snapshots contain the scheduler's state."""

    def __init__(self, scheduler: LRScheduler) -> None:
        self._scheduler = scheduler

    def state_dict(self) -> dict[str, Any]:
        return self._scheduler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._scheduler.load_state_dict(state_dict)


class BatchLrScheduler(LrSchedulerCallback):
    """Steps the scheduler after every optimizer step, at most `total_steps` times. OneCycleLR allows no more steps."""

    def on_train_batch_end(self, state: RunState) -> None:
        total: float = getattr(self._scheduler, "total_steps", math.inf)
        if self._scheduler.last_epoch + 1 < total:
            self._scheduler.step()


class EpochLrScheduler(LrSchedulerCallback):
    """Steps the scheduler at the end of every epoch."""

    def on_epoch_end(self, state: RunState) -> None:
        self._scheduler.step()


class PlateauLrScheduler(LrSchedulerCallback):
    """Steps the scheduler with the epoch's value of `monitor`. luz uses the loss of the last batch instead."""

    def __init__(self, scheduler: ReduceLROnPlateau, monitor: str) -> None:
        super().__init__(scheduler)
        self._plateau = scheduler
        self._monitor = monitor

    def on_epoch_end(self, state: RunState) -> None:
        self._plateau.step(state.metrics[self._monitor])
