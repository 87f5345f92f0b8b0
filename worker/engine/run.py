"""The live things of one training, and what can be asked of them; it knows no spec."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from worker.engine.batches import ArrayBatches
from worker.engine.callback import Callback, Hooks
from worker.engine.callbacks import KeepBest, NonFiniteGuard
from worker.engine.device import Placement
from worker.engine.loop import Loop
from worker.engine.metrics.tally import Tally
from worker.engine.snapshot import RandomState, Stateful
from worker.engine.state import RunState
from worker.engine.steps import Batch, Clip, Forward, TrainStep, ValidStep


class Interrupted(Exception):
    """Somebody asked to leave while the network was being evaluated."""


@dataclass(frozen=True)
class Run:
    """Everything that a training needs, wired but for its observers.

    Attributes:
        callbacks: as asked for, in that order; the guard is apart and always there.
        keep_best: the one of `callbacks` that says which weights are registered, if any.
        new_tally: sums with all metrics, those of the last evaluation too.
    """

    state: RunState
    placement: Placement
    network: nn.Module
    forward: Forward
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None
    clip: Clip | None
    train_batches: ArrayBatches
    valid_batches: ArrayBatches
    test_batches: ArrayBatches | None
    train_tally: Tally
    valid_tally: Tally
    new_tally: Callable[[], Tally]
    callbacks: tuple[Callback, ...]
    guard: NonFiniteGuard
    keep_best: KeepBest | None

    def loop(self, observers: Sequence[Callback] = ()) -> Loop[Batch]:
        """The loop over it all: guard first, observers last, so that they see what the others decided."""
        hooks = Hooks((self.guard, *self.callbacks, *observers))
        train = TrainStep(
            self.forward, self.optimizer, self.train_tally, hooks, scaler=self.scaler, clip=self.clip
        )  # fmt: skip
        valid = ValidStep(self.forward, self.valid_tally, hooks)
        return Loop((self.train_batches, train), (self.valid_batches, valid), hooks)

    def parts(self) -> dict[str, Stateful]:
        """What a snapshot holds beside the network, by name."""
        scaler: dict[str, Stateful] = {} if self.scaler is None else {"scaler": self.scaler}
        callbacks: dict[str, Stateful] = {
            f"callback_{i}_{type(callback).__name__}": callback for i, callback in enumerate(self.callbacks)
        }
        return {
            "state": self.state,
            "optimizer": self.optimizer,
            "train_tally": self.train_tally,
            "random": RandomState(),
            **scaler,
            **callbacks,
        }

    def take_best(self) -> dict[str, float]:
        """Put the weights to be registered into the network; returns the metrics of their epoch."""
        if self.keep_best is None or not self.keep_best.weights:
            return dict(self.state.metrics)
        self.network.load_state_dict(self.keep_best.weights)
        return dict(self.keep_best.metrics)

    def evaluate(self, is_interrupted: Callable[[], bool] = lambda: False) -> dict[str, dict[str, Any]]:
        """All metrics of the network as it is, by split.

        Raises:
            Interrupted: asked to leave on the way.
        """
        splits = {"valid": self.valid_batches, "test": self.test_batches}
        return {
            name: self._evaluate(batches, is_interrupted) for name, batches in splits.items() if batches is not None
        }

    def _evaluate(self, batches: ArrayBatches, is_interrupted: Callable[[], bool]) -> dict[str, Any]:
        tally = self.new_tally()
        step = ValidStep(self.forward, tally, Hooks())
        scratch = RunState(max_epochs=0, steps_per_epoch=0)
        step.begin()
        for batch in batches.epoch(0):
            if is_interrupted():
                raise Interrupted
            step(batch, scratch)
        return tally.values() | tally.tables()
