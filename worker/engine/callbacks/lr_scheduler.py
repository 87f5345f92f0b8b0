"""Steps a learning-rate schedule at its breakpoint."""

import math
from typing import Any

from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from worker.engine.callback import Callback
from worker.engine.state import RunState


class LrSchedulerCallback(Callback):
    """A schedule of torch, which the snapshot holds."""

    def __init__(self, scheduler: LRScheduler) -> None:
        self._scheduler = scheduler

    def state_dict(self) -> dict[str, Any]:
        return self._scheduler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._scheduler.load_state_dict(state_dict)


class BatchLrScheduler(LrSchedulerCallback):
    """A step of the schedule after every optimizer step, until it has no more to give: OneCycleLR would raise."""

    def on_train_batch_end(self, state: RunState) -> None:
        total: float = getattr(self._scheduler, "total_steps", math.inf)
        if self._scheduler.last_epoch + 1 < total:
            self._scheduler.step()


class EpochLrScheduler(LrSchedulerCallback):
    """A step of the schedule at every epoch's end."""

    def on_epoch_end(self, state: RunState) -> None:
        self._scheduler.step()


class PlateauLrScheduler(LrSchedulerCallback):
    """Steps on the epoch's value of `monitor`; luz gave it the last batch's loss."""

    def __init__(self, scheduler: ReduceLROnPlateau, monitor: str) -> None:
        super().__init__(scheduler)
        self._plateau = scheduler
        self._monitor = monitor

    def on_epoch_end(self, state: RunState) -> None:
        self._plateau.step(state.metrics[self._monitor])
