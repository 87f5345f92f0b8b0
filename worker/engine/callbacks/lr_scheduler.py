"""Steps a learning-rate schedule at its breakpoint."""

import math
from typing import Any

from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from worker.engine.callback import Callback
from worker.engine.state import RunState


class Schedule(Callback):
    """A schedule of torch, which the snapshot holds."""

    def __init__(self, schedule: LRScheduler) -> None:
        self._schedule = schedule

    def state_dict(self) -> dict[str, Any]:
        return self._schedule.state_dict()

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._schedule.load_state_dict(saved)


class BatchSchedule(Schedule):
    """A step of the schedule after every optimizer step, until it has no more to give: OneCycleLR would raise."""

    def on_train_batch_end(self, state: RunState) -> None:
        total: float = getattr(self._schedule, "total_steps", math.inf)
        if self._schedule.last_epoch + 1 < total:
            self._schedule.step()


class EpochSchedule(Schedule):
    """A step of the schedule at every epoch's end."""

    def on_epoch_end(self, state: RunState) -> None:
        self._schedule.step()


class PlateauSchedule(Schedule):
    """Steps on the epoch's value of `monitor`; luz gave it the last batch's loss."""

    def __init__(self, schedule: ReduceLROnPlateau, monitor: str) -> None:
        super().__init__(schedule)
        self._plateau = schedule
        self._monitor = monitor

    def on_epoch_end(self, state: RunState) -> None:
        self._plateau.step(state.metrics[self._monitor])
