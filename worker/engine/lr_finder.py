"""Trains with a different learning rate in each step, and suggests one. It does not depend on the job spec.

Source: Smith, "Cyclical Learning Rates for Training Neural Networks", 2015, section 3.3; luz's `lr_finder`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch.optim import Optimizer

from worker.engine.callback import Callback
from worker.engine.callbacks.non_finite_guard import TrainingDiverged
from worker.engine.run import Run
from worker.engine.schedules import scale_lr_per_group
from worker.engine.state import RunState

BETA = 0.9
DIVERGED = 4.0
TENTH = 0.1
"""The suggestion is one order of magnitude below the learning rate with the lowest loss. This is a common rule."""


class LrRange(NamedTuple):
    """The learning rates to test: `steps` values above `start_lr`, up to and including `end_lr`."""

    start_lr: float = 1e-7
    end_lr: float = 1e-1
    steps: int = 100
    spacing: Literal["log", "linear"] = "log"

    def compute_lr(self, step: int) -> float:
        """Return the learning rate of a step. The first step is 1."""
        share = step / self.steps
        if step == self.steps:
            return self.end_lr
        if self.spacing == "linear":
            return self.start_lr + share * (self.end_lr - self.start_lr)
        return self.start_lr * math.pow(self.end_lr / self.start_lr, share)


@dataclass
class LrFinderResult:
    """The tested learning rates and their losses. `smoothed`: the bias-corrected exponential moving average."""

    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    smoothed: list[float] = field(default_factory=list)
    is_diverged: bool = False
    _average: float = 0.0

    def add_step(self, rate: float, loss: float) -> None:
        """Add the loss of a step.

        `is_diverged` becomes True if the loss is not finite, or the smoothed loss exceeds `DIVERGED` times its minimum.
        """
        if not math.isfinite(loss):
            self.is_diverged = True
            return
        self._average = BETA * self._average + (1 - BETA) * loss
        self.rates.append(rate)
        self.losses.append(loss)
        self.smoothed.append(self._average / (1 - BETA ** len(self.rates)))
        self.is_diverged = self.smoothed[-1] > DIVERGED * min(self.smoothed)

    @property
    def lowest_index(self) -> int | None:
        """The index of the lowest smoothed loss. None: the first loss is the lowest, or there are no losses."""
        if not self.smoothed:
            return None
        index = self.smoothed.index(min(self.smoothed))
        return index or None

    @property
    def suggestion(self) -> float | None:
        """A tenth of the learning rate with the lowest smoothed loss. None: the first loss is the lowest."""
        return None if self.lowest_index is None else TENTH * self.rates[self.lowest_index]

    @property
    def steepest(self) -> float | None:
        """The learning rate with the steepest decrease of the smoothed loss. None: the first loss is the lowest."""
        if self.lowest_index is None:
            return None
        slopes = [
            (self.smoothed[i + 1] - self.smoothed[i]) / (math.log10(self.rates[i + 1]) - math.log10(self.rates[i]))
            for i in range(self.lowest_index)
        ]
        return self.rates[slopes.index(min(slopes))]

    def to_dict(self) -> dict[str, Any]:
        """Return the suggestion and all tested learning rates as JSON values."""
        return {
            "suggestion": self.suggestion,
            "steepest": self.steepest,
            "lowest": None if self.lowest_index is None else self.rates[self.lowest_index],
            "is_diverged": self.is_diverged,
            "points": [
                {"lr": rate, "loss": loss, "smoothed": smoothed}
                for rate, loss, smoothed in zip(self.rates, self.losses, self.smoothed, strict=True)
            ],
        }


class LrRangeCallback(Callback):
    """Sets the learning rate before every step and records the loss after it, until the range test ends."""

    def __init__(self, lr_range: LrRange, optimizer: Optimizer) -> None:
        self.result = LrFinderResult()
        self._lr_range = lr_range
        self._optimizer = optimizer
        self._shares = scale_lr_per_group(optimizer, 1.0)

    def on_train_batch_begin(self, state: RunState) -> None:
        rate = self._lr_range.compute_lr(state.step + 1)
        for group, share in zip(self._optimizer.param_groups, self._shares, strict=True):
            group["lr"] = rate * share

    def on_train_batch_end(self, state: RunState) -> None:
        assert state.loss is not None  # noqa: S101 - the training step sets `loss`
        self.result.add_step(self._lr_range.compute_lr(state.step), float(state.loss))
        if state.step >= self._lr_range.steps or self.result.is_diverged:
            state.interrupt()


def find_lr(run: Run, lr_range: LrRange, observers: Sequence[Callback] = ()) -> LrFinderResult:
    """Train for the steps of the range test, and return the losses. It ends early if the loss diverges.

    An observer can also interrupt the run.

    The range test changes the weights of the run's network, so do not use the run afterwards.

    Raises:
        TrainingDiverged: the first loss is not finite.
    """
    callback = LrRangeCallback(lr_range, run.optimizer)
    state = RunState(max_epochs=lr_range.steps, steps_per_epoch=run.state.steps_per_epoch)
    run.build_finder_loop((callback, *observers)).fit(state)
    if callback.result.is_diverged and not callback.result.rates:
        raise TrainingDiverged("the first loss is not finite", epoch=1, step=1, learning_rate=lr_range.compute_lr(1))
    return callback.result
