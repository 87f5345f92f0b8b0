"""Callbacks that step a learning-rate scheduler of torch."""

import math
from typing import Any

from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from worker.engine.callback import Callback
from worker.engine.state import RunState


class LrSchedulerCallback(Callback):
    """The base class of callbacks that step a scheduler. Snapshots contain the scheduler's state."""

    def __init__(self, scheduler: LRScheduler, max_steps: float = math.inf) -> None:
        """`max_steps`: the number of steps after which the learning rate remains constant. Default: unlimited.

        Some schedulers of torch continue after their planned length: the learning rate of a cosine rises again.
        """
        self._scheduler = scheduler
        self._max_steps = max_steps

    @property
    def has_ended(self) -> bool:
        """Whether the learning rate remains constant from now on."""
        return self._scheduler.last_epoch >= self._limit

    @property
    def _limit(self) -> float:
        """The number of steps. OneCycleLR allows one step less than its `total_steps`."""
        return min(self._max_steps, getattr(self._scheduler, "total_steps", math.inf) - 1)

    def step_scheduler(self) -> None:
        """Step the scheduler, at most `max_steps` times."""
        if not self.has_ended:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        return self._scheduler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._scheduler.load_state_dict(state_dict)
        if math.isfinite(self._max_steps):  # the state may belong to a schedule of another length
            self._max_steps = _get_length(self._scheduler, self._max_steps)


class BatchLrScheduler(LrSchedulerCallback):
    """Steps the scheduler after every optimizer step."""

    def on_train_batch_end(self, state: RunState) -> None:
        self.step_scheduler()


class EpochLrScheduler(LrSchedulerCallback):
    """Steps the scheduler at the end of every epoch."""

    def on_epoch_end(self, state: RunState) -> None:
        self.step_scheduler()


class PlateauLrScheduler(LrSchedulerCallback):
    """Steps the scheduler with the epoch's value of `monitor`. luz uses the loss of the last batch instead."""

    def __init__(self, scheduler: ReduceLROnPlateau, monitor: str) -> None:
        super().__init__(scheduler)
        self._plateau = scheduler
        self._monitor = monitor

    def on_epoch_end(self, state: RunState) -> None:
        self._plateau.step(state.metrics[self._monitor])


def _get_length(scheduler: LRScheduler, default: float) -> float:
    """Return the number of steps after which the learning rate remains constant or, for a cosine, would rise again."""
    match scheduler:
        case SequentialLR():
            start: int = scheduler._milestones[-1]
            return start + _get_length(scheduler._schedulers[-1], default - start)
        case CosineAnnealingLR():
            return scheduler.T_max
        case LinearLR() | PolynomialLR():
            return scheduler.total_iters
        case _:
            return default
